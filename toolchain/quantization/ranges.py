"""From what calibration saw of a tensor to its range of 8 bits. Plain numpy."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toolchain.quantization.graph import Affine, affine
from toolchain.training.logarithms import log_softmax

BINS: Final = 2048
# Share of the values that "percentile" cuts off, half of it at each end.
_CUT: Final = 1e-4
# And no more than this share, at each end, of the values that are not 0: an activation that is
# hardly ever more than 0 says something where it is.
_CUT_OF_OTHERS: Final = 0.01
# Shares of the whole range that "mse" tries.
_SHARES: Final = np.linspace(0.2, 1.0, 81)
# Shares of the lowest and of the highest logit that are tried: each half in two steps.
_LOGIT_SHARES: Final = 2.0 ** -np.arange(0, 6.5, 0.5)
# CIFAR-10's validation photos have second best logits from -17 to 22, 640 train photos -5 to 12.
_ROOM: Final = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """How the values of one tensor lie.

    Attributes:
      low, high: the lowest and the highest.
      counts: int64 [BINS], how many lie in each of the equal steps between the two.
      zeros: how many of them are exactly 0, as an activation leaves them.
    """

    low: float
    high: float
    counts: NDArray[np.int64]
    zeros: int = 0

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
    total = max(int(histogram.counts.sum()), 1)
    share = np.cumsum(histogram.counts) / total
    edges = np.linspace(histogram.low, histogram.high, len(share) + 1)
    cut = min(_CUT / 2, _CUT_OF_OTHERS * (1 - histogram.zeros / total))
    first = int(np.searchsorted(share, cut, side="right"))
    last = int(np.searchsorted(share, 1 - cut, side="left"))
    return affine(edges[min(first, len(share) - 1)], edges[min(last, len(share) - 1) + 1])


def _least_error(histogram: Histogram) -> Affine:
    values, counts = histogram.centres(), histogram.counts
    points = [affine(histogram.low * share, histogram.high * share) for share in _SHARES]
    errors = [float(np.sum(counts * (values - rounded(values, point)) ** 2)) for point in points]
    # Of equally good ones the widest: it cuts nothing off that was seen.
    return points[len(points) - 1 - int(np.argmin(errors[::-1]))]


def logits_range(logits: NDArray[np.float32]) -> Affine:
    """The quantization of the last layer, chosen by what softmax makes of its values.

    A network that was trained for long tells sure losers by logits of -50 where -10 would do, and
    steps of a range that holds them are so wide that two classes often get the same one. Taken is
    the range whose answers differ least from those in float, as the mean Kullback-Leibler
    divergence over the images; of equally good ones the widest. None is tried that has no room for
    twice what the second best class had anywhere: two classes beyond an end would be a tie, and
    other images go further than those that were seen.

    Args:
      logits: float32 [images, classes], in float.
    """
    values = logits.astype(np.float64)
    exact = log_softmax(values)
    share, low, high = np.exp(exact), float(logits.min()), float(logits.max())
    second = _ROOM * np.sort(logits, axis=1)[:, -2]
    lows = np.maximum(low, np.minimum(low * _LOGIT_SHARES, second.min()))
    highs = np.minimum(high, np.maximum(high * _LOGIT_SHARES, second.max()))
    points = [affine(a, b) for a, b in itertools.product(lows, highs)]

    def divergence(point: Affine) -> float:
        told = log_softmax(rounded(values, point))
        return float(np.sum(share * (exact - told), axis=1).mean())

    return min(points, key=lambda point: (divergence(point), -point.scale))


def rounded(values: NDArray[np.float64], point: Affine) -> NDArray[np.float64]:
    """What 8 bits make of real values: rounded to a step, cut off at the range's ends."""
    stored = np.clip(np.round(values / point.scale) + point.zero_point, 0, 255)
    result: NDArray[np.float64] = point.scale * (stored - point.zero_point)
    return result
