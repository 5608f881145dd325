"""All values of a run -> one frozen `Report`, which html, markdown and JSON only put into words."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from toolchain import __version__
from toolchain.recipe.sections import Recipe
from toolchain.report.choice import Choice, choose
from toolchain.report.classes import ClassRow, Mistake, class_rows, most_confused
from toolchain.values import (
    SPLITS,
    Benchmark,
    Dataset,
    EpochRecord,
    FileVerification,
    QuantizedModel,
    TrainedModel,
    Verification,
)

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class DataSummary:
    """The images behind the numbers.

    Attributes:
      classes: names, in the order of the labels.
      counts: split -> images of each class.
      size: width and height in pixels.
      skipped: (name, reason) of images left out.
      notes: what was assumed, one sentence each.
    """

    classes: tuple[str, ...]
    counts: dict[str, tuple[int, ...]]
    size: int
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a reader needs to trust, use and re-make a run's files.

    Attributes:
      name: of the recipe.
      date: UTC, ISO 8601, of the report.
      command: what re-makes the run.
      toolchain: version.
      recipe: all settings, section -> key -> value.
      choices: which file of each format to ship, and why.
      data: the images.
      parameters: weights of the float model.
      training, quantization: history, one record an epoch; the latter empty without QAT.
      best_training, best_quantization: the epoch whose weights were taken, index into them.
      notes: what training and quantization chose on the way.
      verification: of every file; benchmark: None when it was not run.
      shown: the file whose confusion matrix and classes are given.
      per_class, mistakes: of that file.
      lineage: what -> sha256 of the recipe, data, weights and every file.
    """

    name: str
    date: str
    command: str
    toolchain: str
    recipe: dict[str, Any]
    choices: tuple[Choice, ...]
    data: DataSummary
    parameters: int
    training: tuple[EpochRecord, ...]
    best_training: int
    quantization: tuple[EpochRecord, ...]
    best_quantization: int | None
    notes: tuple[str, ...]
    verification: Verification
    benchmark: Benchmark | None
    shown: str
    per_class: tuple[ClassRow, ...]
    mistakes: tuple[Mistake, ...]
    lineage: dict[str, str]

    def shown_file(self) -> FileVerification | None:
        """The verification of the file named `shown`."""
        return next((file for file in self.verification.files if file.file == self.shown), None)

    def to_json(self) -> dict[str, Any]:
        """Plain data; numbers that JSON cannot say (nan, inf) become null."""
        data: dict[str, Any] = _plain(dataclasses.asdict(self))
        return {"schema": SCHEMA, **data}


def make_report(
    recipe: Recipe,
    dataset: Dataset,
    trained: TrainedModel,
    quantized: QuantizedModel | None,
    verification: Verification,
    benchmark: Benchmark | None,
    lineage: Mapping[str, str],
    *,
    command: str = "",
) -> Report:
    """Gather the values of one run.

    Args:
      quantized: None when the recipe has no int8 files.
      benchmark: None when it was not run; the choice then rests on accuracy alone.
      lineage: what -> sha256, in the order in which it is to be shown.
      command: what re-makes the run; a sensible one is written when it is empty.
    """
    choices = choose(verification, benchmark, recipe.verify.accuracy_drop)
    shown = _shown(verification, choices)
    confusion = shown.confusion if shown else ()
    classes = verification.classes if shown else ()
    return Report(
        name=recipe.name,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command or f"toolchain run --recipe {recipe.name}",
        toolchain=__version__,
        recipe=recipe.to_json(),
        choices=choices,
        data=_summary(dataset),
        parameters=trained.parameters,
        training=trained.history,
        best_training=trained.best,
        quantization=quantized.history if quantized else (),
        best_quantization=quantized.best if quantized else None,
        notes=trained.notes + (quantized.notes if quantized else ()),
        verification=verification,
        benchmark=benchmark,
        shown=shown.file if shown else "",
        per_class=class_rows(classes, confusion),
        mistakes=most_confused(classes, confusion),
        lineage=dict(lineage),
    )


def _summary(dataset: Dataset) -> DataSummary:
    counted = Counter(zip(dataset.splits, dataset.labels, strict=True))
    classes = range(len(dataset.classes))
    return DataSummary(
        classes=dataset.classes,
        counts={split: tuple(counted[split, at] for at in classes) for split in SPLITS},
        size=dataset.size,
        skipped=dataset.skipped,
        notes=dataset.notes,
    )


def _shown(verification: Verification, choices: tuple[Choice, ...]) -> FileVerification | None:
    """The int8 TFLite file, else the first that is to be shipped, else the first of all."""
    files = verification.files
    wanted = [f for f in files if f.format == "tflite" and f.precision.startswith("int8")]
    wanted += [f for choice in choices for f in files if f.file == choice.file]
    return next(iter([*wanted, *files]), None)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
