"""From what calibration saw of a tensor to its range of 8 bits. Plain numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toolchain.quantization.graph import Affine, affine

BINS: Final = 2048
# Share of the values that "percentile" cuts off, half of it at each end.
_CUT: Final = 1e-4
# Shares of the whole range that "mse" tries.
_SHARES: Final = np.linspace(0.2, 1.0, 81)


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """How the values of one tensor lie.

    Attributes:
      low, high: the lowest and the highest.
      counts: int64 [BINS], how many lie in each of the equal steps between the two.
    """

    low: float
    high: float
    counts: NDArray[np.int64]

    def centres(self) -> NDArray[np.float64]:
        """The middle of each step, float64 [BINS]."""
        edges = np.linspace(self.low, self.high, len(self.counts) + 1)
        return (edges[1:] + edges[:-1]) / 2


def choose_range(histogram: Histogram, method: str) -> Affine:
    """The quantization of a tensor.

    Args:
      histogram: of its values over the calibration images.
      method: "minmax" keeps every value; "percentile" cuts off one in 10,000, half of them at
        each end; "mse" takes the range with the least mean squared error of rounding and cutting.
    """
    if method == "percentile":
        return _percentile(histogram)
    if method == "mse":
        return _least_error(histogram)
    return affine(histogram.low, histogram.high)


def _percentile(histogram: Histogram) -> Affine:
    share = np.cumsum(histogram.counts) / max(int(histogram.counts.sum()), 1)
    edges = np.linspace(histogram.low, histogram.high, len(share) + 1)
    first = int(np.searchsorted(share, _CUT / 2, side="right"))
    last = int(np.searchsorted(share, 1 - _CUT / 2, side="left"))
    return affine(edges[min(first, len(share) - 1)], edges[min(last, len(share) - 1) + 1])


def _least_error(histogram: Histogram) -> Affine:
    values, counts = histogram.centres(), histogram.counts
    points = [affine(histogram.low * share, histogram.high * share) for share in _SHARES]
    errors = [float(np.sum(counts * (values - rounded(values, point)) ** 2)) for point in points]
    # Of equally good ones the widest: it cuts nothing off that was seen.
    return points[len(points) - 1 - int(np.argmin(errors[::-1]))]


def rounded(values: NDArray[np.float64], point: Affine) -> NDArray[np.float64]:
    """What 8 bits make of real values: rounded to a step, cut off at the range's ends."""
    stored = np.clip(np.round(values / point.scale) + point.zero_point, 0, 255)
    result: NDArray[np.float64] = point.scale * (stored - point.zero_point)
    return result
