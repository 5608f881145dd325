"""Several runs side by side, on the same photos where they have the same."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from toolchain import __version__
from toolchain.measurement import Benchmark, Measurement
from toolchain.models import locate
from toolchain.recipe import Recipe
from toolchain.recipe.backbones import BACKBONES
from toolchain.report import words
from toolchain.report.choice import Speeds, choose
from toolchain.report.classes import ClassRow, class_rows
from toolchain.report.model import RunValues
from toolchain.saved import without_nan
from toolchain.values import FileVerification, Interval
from toolchain.verification.statistics import mcnemar, paired_difference

SCHEMA: Final = 2


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One run.

    Attributes:
      name: of its folder.
      network: backbone and input size in words; parameters: its weights.
      images: photos of its test split.
      float_file: its fp32 file; None when there is none.
      shipped: the file that its report says to ship, of the first format.
      per_class: of `shipped`.
      precision, recall, f1: of `shipped`, means over the classes that have a test photo or were
        answered once, 0..1.
      seconds: of all features and epochs, training and quantization.
      bytes, p50_ms: of `shipped`; None when it was not measured.
      timed_on: machine, provider and threads of the latency, in words; empty where the processor
        is not known or nothing was measured.
    """

    name: str
    network: str
    parameters: int
    images: int
    float_file: FileVerification | None
    shipped: FileVerification
    per_class: tuple[ClassRow, ...]
    precision: float
    recall: float
    f1: float
    seconds: float
    bytes: int | None
    p50_ms: Interval | None
    timed_on: str


@dataclass(frozen=True, slots=True)
class Difference:
    """A run against the best one, on the test photos that both have.

    Attributes:
      run, best: their names.
      same_photos: whether both have the very same test photos and classes.
      images: photos in common; 0 when there are none, the others are then None.
      difference: accuracy of `run` minus that of `best`, -1..1 with its 95 % interval.
      p_value: McNemar's exact test.
    """

    run: str
    best: str
    same_photos: bool
    images: int
    difference: Interval | None = None
    p_value: float | None = None

    @property
    def verdict(self) -> str:
        """What the photos in common tell of `run`: "better", "worse", "inconclusive", "unknown"."""
        found = self.difference
        if found is None:
            return "unknown"
        return "worse" if found.high < 0 else "better" if found.low > 0 else "inconclusive"


@dataclass(frozen=True, slots=True)
class ComparedRuns:
    """Runs in the order in which they were given.

    Attributes:
      date: UTC, ISO 8601; command: what re-makes it; toolchain: version.
      runs: at least two.
      best: position of the run that the others are held against, see `compare_runs`.
      differences: of every other run against it.
      same_photos: whether all have the very same test photos and classes.
      settings: key -> its value in each run, in the order of the runs, where they are not all the
        same; "" where a run does not have it.
    """

    date: str
    command: str
    toolchain: str
    runs: tuple[ComparedRun, ...]
    best: int
    differences: tuple[Difference, ...]
    same_photos: bool
    settings: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def same_timing(self) -> bool:
        """Whether the latencies that there are come from the same machine in the same way."""
        places = {run.timed_on for run in self.runs if run.p50_ms}
        return len(places) < 2 and "" not in places

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"schema": SCHEMA, **without_nan(dataclasses.asdict(self))}


def compare_runs(runs: Sequence[RunValues], command: str) -> ComparedRuns:
    """Put runs side by side; at least two, their names all different.

    Accuracies on other photos or classes do not tell which network is better. So the best is the
    run whose shipped file is the most accurate of those that share their test photos and classes
    with the most runs. Against runs of other data only the photos in common are compared.
    """
    compared = tuple(_compared(values) for values in runs)
    photos = [_Photos.of(values, run.shipped) for values, run in zip(runs, compared, strict=True)]
    shared = [sum(_same(one, other) for other in photos) for one in photos]
    accuracies = [run.shipped.accuracy.value for run in compared]
    best = max(range(len(runs)), key=lambda at: (shared[at], accuracies[at]))
    return ComparedRuns(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        toolchain=__version__,
        runs=compared,
        best=best,
        differences=tuple(
            _difference(compared[at].name, photos[at], compared[best].name, photos[best])
            for at in range(len(runs))
            if at != best
        ),
        same_photos=shared[best] == len(runs),
        settings=_differing(runs),
    )


def _compared(values: RunValues) -> ComparedRun:
    recipe, verification = values.recipe, values.verification
    choices = choose(verification, values.benchmark, recipe.verify.accuracy_drop)
    names = [choice.file for choice in choices if choice.file]
    chosen = [file for name in names for file in verification.files if file.file == name]
    shipped = next(iter([*chosen, *verification.files]))
    rows = class_rows(verification.classes, shipped.confusion)
    there = [row for row in rows if row.f1 is not None]
    timed = Speeds.of(values.benchmark).timed.get(shipped.file)
    histories = values.trained.history + (values.quantized.history if values.quantized else ())
    return ComparedRun(
        name=recipe.name,
        network=f"{_network(recipe)}, {values.dataset.size} px",
        parameters=values.trained.parameters,
        images=shipped.images,
        float_file=next((f for f in verification.files if f.precision == "fp32"), None),
        shipped=shipped,
        per_class=rows,
        precision=_mean([row.precision for row in there]),
        recall=_mean([row.recall for row in there]),
        f1=shipped.f1,
        seconds=values.trained.feature_seconds + sum(record.seconds for record in histories),
        bytes=timed.row.bytes if timed else None,
        p50_ms=timed.row.latency.p50_ms if timed and timed.row.latency else None,
        timed_on=_timed_on(values.benchmark, timed.row) if values.benchmark and timed else "",
    )


def _timed_on(benchmark: Benchmark, row: Measurement) -> str:
    """What two latencies need to have in common to compare; the runtime is the file's own."""
    machine = benchmark.machine
    if not machine.get("processor"):
        return ""
    cores = machine.get("logical cores", "unknown number of")
    threads = words.count(row.threads, "thread")
    return f"{machine['processor']}, {cores} cores; {row.provider}, {threads}"


def _network(recipe: Recipe) -> str:
    """The backbone and how wide it is."""
    model = recipe.model
    if BACKBONES[model.backbone].has_alpha:
        return f"{model.backbone} {model.alpha:g}"
    return f"{model.backbone} {'-'.join(map(str, model.blocks))}".strip()


def _mean(shares: Sequence[float | None]) -> float:
    """As scikit-learn's macro average: a share that would divide by zero counts 0."""
    return sum(share or 0.0 for share in shares) / max(1, len(shares))


@dataclass(frozen=True, slots=True, eq=False)
class _Photos:
    """The test photos of a run, and which of them its shipped file called right.

    Attributes:
      origin: the place that the recipe's path means; its source where it has none.
      frame: size of the input, pixels, and the share of the photo that it shows.
      classes: all that the run tells apart.
      names, pixels: each photo's name and the hash of its resized pixels, both with its class.
      right: one for each; empty without answers.
    """

    origin: str
    frame: tuple[int, float]
    classes: frozenset[str]
    names: tuple[tuple[str, str], ...]
    pixels: tuple[tuple[str, str], ...]
    right: tuple[bool, ...]

    @staticmethod
    def of(values: RunValues, file: FileVerification) -> _Photos:
        dataset, answers, data = values.dataset, values.answers, values.recipe.data
        rows = dataset.indices("test") if answers is None else answers.rows
        classes = [dataset.classes[dataset.labels[row]] for row in rows]
        known = answers is not None and file.file in answers.files
        right = answers.files[file.file].called == answers.labels if answers and known else None
        return _Photos(
            origin=os.path.realpath(locate(data.path, "datasets")) if data.path else data.source,
            frame=(dataset.size, values.recipe.input.crop),
            classes=frozenset(dataset.classes),
            names=tuple(zip((dataset.names[row] for row in rows), classes, strict=True)),
            pixels=tuple(zip((dataset.sha256[row] for row in rows), classes, strict=True)),
            right=() if right is None else tuple(right.tolist()),
        )

    def keys(self, other: _Photos) -> tuple[tuple[str, str], ...]:
        """What tells these photos from one another, and that `other.keys(self)` says alike.

        Resized or cropped otherwise, the same photo has other pixels; then its name tells, within
        one place.
        """
        if self.frame == other.frame:
            return self.pixels
        return self.names if self.origin == other.origin else ()


def _same(one: _Photos, other: _Photos) -> bool:
    keys, others = Counter(one.keys(other)), Counter(other.keys(one))
    return bool(keys) and keys == others and one.classes == other.classes


def _difference(name: str, photos: _Photos, best: str, others: _Photos) -> Difference:
    mine = dict(zip(photos.keys(others), photos.right, strict=False))
    theirs = dict(zip(others.keys(photos), others.right, strict=False))
    common, same = sorted(mine.keys() & theirs.keys()), _same(photos, others)
    if not common:
        return Difference(name, best, same, 0)
    first = np.fromiter((theirs[key] for key in common), bool)
    second = np.fromiter((mine[key] for key in common), bool)
    lost, gained = int((first & ~second).sum()), int((second & ~first).sum())
    found = paired_difference(first, second)
    return Difference(name, best, same, len(common), found, mcnemar(lost, gained))


def _differing(runs: Sequence[RunValues]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    settings = [dict(words.flat_settings(values.recipe.to_json())) for values in runs]
    keys = dict.fromkeys(key for one in settings for key in one if key != "name")
    found = ((key, tuple(one.get(key, "") for one in settings)) for key in keys)
    return tuple((key, values) for key, values in found if len(set(values)) > 1)
