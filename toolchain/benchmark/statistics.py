"""Timings -> the numbers of a `Measurement`. Pure numpy: nothing is run here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class Latency:
    """How long one inference took, in milliseconds: percentiles and mean over all timed runs."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float


def summarise(nanoseconds: NDArray[np.int64]) -> Latency:
    """Percentiles and mean of timings.

    A percentile between two runs is interpolated linearly: Hyndman and Fan, "Sample quantiles in
    statistical packages", The American Statistician 50 (1996), definition 7, numpy's default.

    Args:
      nanoseconds: int64 [runs], one duration a run, at least one.

    Raises:
      ValueError: there are no timings.
    """
    if nanoseconds.size == 0:
        raise ValueError("expected at least one timing, received none")
    p50, p90, p99 = np.percentile(nanoseconds / _NS_PER_MS, [50, 90, 99])
    return Latency(float(p50), float(p90), float(p99), float(np.mean(nanoseconds) / _NS_PER_MS))


def throughput(mean_ms: float, batch: int) -> float:
    """Images a second when one batch follows the other: 1000 · batch / mean latency in ms."""
    return 1000.0 * batch / mean_ms


def rounds_of(runs: int, rounds: int) -> tuple[int, ...]:
    """`runs` spread over at most `rounds` rounds that differ by one run at most.

    >>> rounds_of(23, 10)
    (3, 3, 3, 2, 2, 2, 2, 2, 2, 2)
    """
    each, more = divmod(runs, rounds)
    spread = (each + (position < more) for position in range(rounds))
    return tuple(count for count in spread if count)
