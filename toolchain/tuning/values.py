"""What a search tried and found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from toolchain.values import Interval

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class Trial:
    """One exported file of one variant.

    Attributes:
      variant: name of the run.
      alpha, size: width of the network (None where the backbone has none), pixels of its input.
      file, format, precision: which.
      bytes: size of the file.
      images: photos of the validation split.
      accuracy: top-1 on them, through the real runtime, 0..1 with its Wilson interval.
      p50_ms: milliseconds an image; None when it could not be timed, and `failure` says why.
    """

    variant: str
    alpha: float | None
    size: int
    file: str
    format: str
    precision: str
    bytes: int
    images: int
    accuracy: Interval
    p50_ms: Interval | None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Trials:
    """All files of one variant, saved in its run; `machine` timed them."""

    machine: dict[str, str]
    trials: tuple[Trial, ...]


@dataclass(frozen=True, slots=True)
class Untried:
    """A variant that was not trained, and why."""

    variant: str
    alpha: float | None
    size: int
    reason: str


@dataclass(frozen=True, slots=True)
class Budget:
    """What a file may cost; None is no bound. Megabytes are 10^6 bytes."""

    max_ms: float | None = None
    max_mb: float | None = None

    def allows(self, trial: Trial) -> bool:
        """Whether a file is within it, by its median."""
        fits = self.max_mb is None or trial.bytes <= self.max_mb * 1e6
        if self.max_ms is None:
            return fits
        return fits and trial.p50_ms is not None and trial.p50_ms.value <= self.max_ms

    def exceeded(self, trial: Trial) -> bool:
        """Whether a file is beyond doubt over it: also with the low end of its interval."""
        if self.max_mb is not None and trial.bytes > self.max_mb * 1e6:
            return True
        if self.max_ms is None or trial.p50_ms is None:
            return False
        return trial.p50_ms.low > self.max_ms

    def __str__(self) -> str:
        parts = []
        if self.max_ms is not None:
            parts.append(f"{self.max_ms:g} ms")
        if self.max_mb is not None:
            parts.append(f"{self.max_mb:g} MB")
        return " and ".join(parts) or "no budget"


@dataclass(frozen=True, slots=True)
class Tuning:
    """A whole search.

    Attributes:
      recipe: name of the recipe that was varied.
      date: UTC, ISO 8601; command: what goes on with it or re-makes it; toolchain: version.
      machine: what timed the files, as text.
      budget: what a file may cost.
      accuracy_drop: points that the chosen file may lose against the most accurate in the budget.
      trials: every file that was measured, on the validation split.
      untried: variants that were not trained.
      front: positions in `trials` on the Pareto front of accuracy and latency (of size, where
        only the size has a budget).
      chosen: position in `trials` of the file to ship; None when none is within the budget.
      reason: why, one or two sentences.
      ships: path of the recipe that was written for it; empty when none was.
      test: top-1 of the chosen file on the test split, which nothing else here has seen; None
        before it was verified.
    """

    recipe: str
    date: str
    command: str
    toolchain: str
    machine: dict[str, str]
    budget: Budget
    accuracy_drop: float
    trials: tuple[Trial, ...]
    untried: tuple[Untried, ...]
    front: tuple[int, ...]
    chosen: int | None
    reason: str
    ships: str = ""
    test: Interval | None = None
    schema: int = SCHEMA
