"""All values of a run -> one frozen `Report`, which html, markdown and JSON only put into words."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from toolchain import __version__
from toolchain.evidence import Answers, ClientResize, Heatmaps, LayerError, Sensitivity
from toolchain.measurement import Benchmark
from toolchain.overfitting import Gap, overfitting
from toolchain.recipe.sections import Recipe
from toolchain.report.calibration import (
    Calibration,
    CalibrationChange,
    calibration,
    calibration_change,
)
from toolchain.report.choice import Choice, choose
from toolchain.report.classes import ClassRow, Mistake, class_rows, most_confused
from toolchain.report.gallery import Gallery, flips, looked_at, worst_mistakes
from toolchain.report.lineage import Link
from toolchain.saved import without_nan
from toolchain.values import (
    SPLITS,
    Dataset,
    EpochRecord,
    FileVerification,
    QuantizedModel,
    TrainedModel,
    Verification,
)

SCHEMA = 2


@dataclass(frozen=True, slots=True)
class RunValues:
    """What a report is made of.

    Attributes:
      quantized: None when the recipe has no QAT.
      benchmark: None when it was not run; the choice then rests on accuracy alone.
      phones: what was imported from phones, each a session on another machine.
      answers, heatmaps: None when verify kept none; sensitivity: None when quantize kept none.
      client_resize: None when verify measured none.
      lineage: in the order in which it is to be shown.
      command: what re-makes the run.
    """

    recipe: Recipe
    dataset: Dataset
    trained: TrainedModel
    quantized: QuantizedModel | None
    verification: Verification
    benchmark: Benchmark | None
    phones: tuple[Benchmark, ...]
    answers: Answers | None
    heatmaps: Heatmaps | None
    sensitivity: Sensitivity | None
    client_resize: ClientResize | None
    lineage: tuple[Link, ...]
    command: str


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
      overfitting: None when no epoch was trained.
      notes: what training and quantization chose on the way.
      verification: of every file; benchmark: None when it was not run.
      phones: what was imported from phones; none of it enters a choice.
      shown: the file whose confusion matrix, classes and photos are given.
      base: the float file that it is held against; empty when there is none.
      per_class, mistakes: of `shown`.
      calibrations: of `base` and `shown`, those that there are; empty without answers.
      calibration_change: from `base` to `shown`.
      gallery: single photos; None without answers.
      layers: what 8 bits do to each layer, the worst first; empty when nobody measured it.
      client_resize: what MediaPipe's own resize changes; None when nobody measured it.
      lineage: the recipe, data, weights and every file by their hashes.
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
    overfitting: Gap | None
    notes: tuple[str, ...]
    verification: Verification
    benchmark: Benchmark | None
    phones: tuple[Benchmark, ...]
    shown: str
    base: str
    per_class: tuple[ClassRow, ...]
    mistakes: tuple[Mistake, ...]
    calibrations: tuple[Calibration, ...]
    calibration_change: CalibrationChange | None
    gallery: Gallery | None
    layers: tuple[LayerError, ...]
    client_resize: ClientResize | None
    lineage: tuple[Link, ...]

    def file(self, name: str) -> FileVerification | None:
        """The verification of a file."""
        return next((file for file in self.verification.files if file.file == name), None)

    def to_json(self) -> dict[str, Any]:
        """Plain data; numbers that JSON cannot say (nan, inf) become null."""
        data: dict[str, Any] = without_nan(dataclasses.asdict(self))
        return {"schema": SCHEMA, **data}


def make_report(values: RunValues) -> Report:
    """Gather the values of one run."""
    verification, recipe = values.verification, values.recipe
    choices = choose(verification, values.benchmark, recipe.verify.accuracy_drop)
    shown = _shown(verification, choices)
    base = _base(verification, shown)
    confusion = shown.confusion if shown else ()
    classes = verification.classes if shown else ()
    quantized = values.quantized
    calibrations, change, gallery = _singles(values, shown, base)
    return Report(
        name=recipe.name,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        command=values.command,
        toolchain=__version__,
        recipe=recipe.to_json(),
        choices=choices,
        data=_summary(values.dataset),
        parameters=values.trained.parameters,
        training=values.trained.history,
        best_training=values.trained.best,
        quantization=quantized.history if quantized else (),
        best_quantization=quantized.best if quantized else None,
        overfitting=overfitting(values.trained.history, values.trained.best),
        notes=values.trained.notes + (quantized.notes if quantized else ()),
        verification=verification,
        benchmark=values.benchmark,
        phones=values.phones,
        shown=shown.file if shown else "",
        base=base.file if base else "",
        per_class=class_rows(classes, confusion),
        mistakes=most_confused(classes, confusion),
        calibrations=calibrations,
        calibration_change=change,
        gallery=gallery,
        layers=values.sensitivity.worst() if values.sensitivity else (),
        client_resize=values.client_resize,
        lineage=values.lineage,
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
    """The first quantized file that is to be shipped, else the first int8 file, else the first."""
    files = verification.files
    shipped = [f for choice in choices for f in files if f.file == choice.file]
    wanted = [f for f in shipped if f.precision != "fp32"]
    wanted += [f for f in files if f.precision.startswith("int8")]
    return next(iter([*wanted, *shipped, *files]), None)


def _base(verification: Verification, shown: FileVerification | None) -> FileVerification | None:
    """The float file of the same format, else of another."""
    if shown is None or shown.precision == "fp32":
        return None
    floats = [file for file in verification.files if file.precision == "fp32"]
    same = [file for file in floats if file.format == shown.format]
    return next(iter([*same, *floats]), None)


def _singles(
    values: RunValues, shown: FileVerification | None, base: FileVerification | None
) -> tuple[tuple[Calibration, ...], CalibrationChange | None, Gallery | None]:
    """What needs the answers on single photos."""
    answers, heatmaps = values.answers, values.heatmaps
    if answers is None or shown is None or shown.file not in answers.files:
        return (), None, None
    pair = [one.file for one in (base, shown) if one and one.file in answers.files]
    known = tuple(calibration(name, answers.files[name], answers.labels) for name in pair)
    looked = looked_at(heatmaps, values.dataset) if heatmaps else ()
    gallery = Gallery(
        file=shown.file,
        worst=worst_mistakes(answers, shown.file, values.dataset),
        flips=flips(answers, pair[0], pair[1], values.dataset) if len(pair) == 2 else None,
        looked=looked,
        layer=heatmaps.layer if heatmaps else "",
    )
    return known, calibration_change(answers, *pair) if len(pair) == 2 else None, gallery
