"""How far a file's confidence can be believed: reliability and expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toolchain.evidence import Answers, FileAnswers
from toolchain.values import Interval
from toolchain.verification.statistics import wilson

# As published: Guo et al., "On Calibration of Modern Neural Networks", 2017.
BINS: Final = 15
_RESAMPLES: Final = 1000


@dataclass(frozen=True, slots=True)
class Bin:
    """Photos that were answered with about the same confidence.

    Attributes:
      count: photos, at least 1.
      confidence: their mean confidence, 0..1.
      accuracy: share of them that was right, 0..1 with its 95 % Wilson interval.
    """

    count: int
    confidence: float
    accuracy: Interval


@dataclass(frozen=True, slots=True)
class Calibration:
    """One file on the test split.

    Attributes:
      file: its name.
      error: expected calibration error, 0..1: sum over bins of share of photos x
        |accuracy - mean confidence|, over 15 bins of equal width.
      confidence, accuracy: means over all photos, 0..1; confidence above accuracy is too sure.
      bins: those that hold photos, least sure first.
    """

    file: str
    error: float
    confidence: float
    accuracy: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class CalibrationChange:
    """What quantization did to the calibration error: `other` minus `base`, on the same photos.

    Attributes:
      base, other: names of the files.
      difference: in 0..1 units, with its 95 % bootstrap interval; above 0 is worse.
    """

    base: str
    other: str
    difference: Interval

    @property
    def conclusive(self) -> bool:
        """Whether the interval leaves out no change."""
        return self.difference.low > 0 or self.difference.high < 0


def calibration(file: str, answers: FileAnswers, labels: NDArray[np.int64]) -> Calibration:
    """Reliability of one file's answers; at least one photo."""
    right = answers.called == labels
    place = _bin_of(answers.confidence)
    bins = []
    for at in np.unique(place):
        inside = place == at
        bins.append(
            Bin(
                count=int(inside.sum()),
                confidence=float(answers.confidence[inside].mean()),
                accuracy=wilson(int(right[inside].sum()), int(inside.sum())),
            )
        )
    return Calibration(
        file=file,
        error=sum(abs(b.accuracy.value - b.confidence) * b.count for b in bins) / len(labels),
        confidence=float(answers.confidence.mean()),
        accuracy=float(right.mean()),
        bins=tuple(bins),
    )


def calibration_change(answers: Answers, base: str, other: str) -> CalibrationChange:
    """The difference of two files' errors; photos are drawn anew in pairs, so both see the same."""
    count, random = len(answers.labels), np.random.default_rng(0)
    before, after = (_Terms.of(answers.files[name], answers.labels) for name in (base, other))
    whole = np.arange(count)
    drawn = [random.integers(0, count, count) for _ in range(_RESAMPLES)]
    differences = [after.error(rows) - before.error(rows) for rows in drawn]
    low, high = np.quantile(differences, [0.025, 0.975])
    value = after.error(whole) - before.error(whole)
    return CalibrationChange(base, other, Interval(value, float(low), float(high)))


@dataclass(frozen=True, slots=True, eq=False)
class _Terms:
    """The bin of every photo, and what it adds there: right minus confidence."""

    place: NDArray[np.int64]
    surplus: NDArray[np.float64]

    @staticmethod
    def of(answers: FileAnswers, labels: NDArray[np.int64]) -> _Terms:
        right = (answers.called == labels).astype(np.float64)
        return _Terms(_bin_of(answers.confidence), right - answers.confidence)

    def error(self, rows: NDArray[np.int64]) -> float:
        sums = np.bincount(self.place[rows], self.surplus[rows], BINS)
        return float(np.abs(sums).sum() / len(rows))


def _bin_of(confidence: NDArray[np.float32]) -> NDArray[np.int64]:
    """0 .. BINS - 1; a confidence of exactly 1 belongs to the last."""
    return np.clip((confidence.astype(np.float64) * BINS).astype(np.int64), 0, BINS - 1)
