"""Timings -> numbers with 95 % intervals. Pure numpy and scipy: nothing is run here.

Runs of one round are not independent (they share the clock, the caches and whatever else goes on),
so every interval here resamples whole rounds, never single runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toolchain.values import Interval, Latency

RESAMPLES: Final = 1000
_NS_PER_MS: Final = 1e6
_CONFIDENCE: Final = 0.95
_SEED: Final = 0
_LEVELS: Final = np.array([0.5, 0.9, 0.99])


def summarise(rounds: Sequence[NDArray[np.int64]], batch: int) -> Latency:
    """Percentiles and throughput of timings that were taken in rounds.

    A percentile between two runs is interpolated linearly: Hyndman and Fan, "Sample quantiles in
    statistical packages", The American Statistician 50 (1996), definition 7, numpy's default.

    Args:
      rounds: for each round its durations, nanoseconds, int64 [runs]; at least one of each.
      batch: images an inference.

    Raises:
      ValueError: there are no timings.
    """
    if not rounds or not all(one.size for one in rounds):
        raise ValueError("expected at least one timing a round, received none")
    once = np.ones((1, len(rounds)), np.int64)
    found = _numbers(rounds, batch, once)[0]
    redrawn = _numbers(rounds, batch, draws(len(rounds)))
    p50, p90, p99, throughput = intervals(found, redrawn, len(rounds))
    runs = sum(one.size for one in rounds)
    return Latency(runs, len(rounds), p50, p90, p99, throughput)


def _numbers(
    rounds: Sequence[NDArray[np.int64]], batch: int, counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """p50, p90, p99 and throughput of several mixtures of rounds: [mixtures, 4].

    `counts`, int64 [mixtures, rounds], says how often a mixture holds a round. The timings are
    sorted once: a mixture's order statistics then follow from how often it holds each of them.
    """
    pooled = np.concatenate(rounds) / _NS_PER_MS
    home = np.repeat(np.arange(len(rounds)), [one.size for one in rounds])
    order = np.argsort(pooled, kind="stable")
    pooled, home = pooled[order], home[order]
    numbers = np.empty((len(counts), 4))
    for row, count in zip(numbers, counts, strict=True):
        held = np.cumsum(count[home])
        row[:3] = _quantiles(pooled, held)
        row[3] = 1000 * batch * held[-1] / np.dot(pooled, count[home])
    return numbers


def _quantiles(values: NDArray[np.float64], held: NDArray[np.int64]) -> NDArray[np.float64]:
    """Definition 7 of sorted values, of which the first i + 1 occur `held[i]` times in all."""
    places = (held[-1] - 1) * _LEVELS
    below = np.floor(places).astype(np.int64)
    above = np.minimum(below + 1, held[-1] - 1)
    low, high = (values[np.searchsorted(held, one, side="right")] for one in (below, above))
    mixed: NDArray[np.float64] = low + (places - below) * (high - low)
    return mixed


def draws(rounds: int) -> NDArray[np.int64]:
    """How often each of `RESAMPLES` draws with replacement holds each round."""
    even = np.full(rounds, 1 / rounds)
    return np.random.default_rng(_SEED).multinomial(rounds, even, RESAMPLES)


def intervals(
    found: NDArray[np.float64], redrawn: NDArray[np.float64], rounds: int
) -> list[Interval]:
    """Numbers with the intervals that their values over the draws give.

    With few rounds the plain percentile interval is too short. Its ends are moved outwards as
    Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69
    (2015), section 5.3 ("expanded percentile"): the level a of each tail becomes
    Phi(-sqrt(n / (n - 1)) · t(1 - a, n - 1)). With one round there is nothing to draw from, and
    the interval is the number itself.

    Args:
      found: the numbers, [numbers]; redrawn: the same of every draw, [draws, numbers].
      rounds: how many there were to draw from.
    """
    tail = expanded_tail(rounds) if rounds > 1 else 0.5
    low, high = np.quantile(redrawn, [tail, 1 - tail], axis=0)
    return [
        # The number lies inside its interval even where few rounds make the draws lopsided.
        Interval(float(one), float(min(one, least)), float(max(one, most)))
        for one, least, most in zip(found, low, high, strict=True)
    ]


def expanded_tail(rounds: int) -> float:
    """The level of one tail that a bootstrap over so many rounds is cut at; see `bootstrap`."""
    from scipy import stats

    student = stats.t.ppf((1 + _CONFIDENCE) / 2, rounds - 1)
    return float(stats.norm.cdf(-math.sqrt(rounds / (rounds - 1)) * student))


def rounds_of(runs: int, rounds: int) -> tuple[int, ...]:
    """`runs` spread over at most `rounds` rounds that differ by one run at most.

    >>> rounds_of(23, 10)
    (3, 3, 3, 2, 2, 2, 2, 2, 2, 2)
    """
    each, more = divmod(runs, rounds)
    spread = (each + (position < more) for position in range(rounds))
    return tuple(count for count in spread if count)
