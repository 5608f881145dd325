"""Timings -> numbers with intervals. Pure numpy and scipy: nothing is run here.

Timings come nested: a file is opened in several fresh processes, and timed in several rounds in
each. Runs of a round share the clock and whatever else goes on; rounds of a process share its place
in memory, which alone makes two processes of one file differ. So intervals here rest on how far the
processes lie apart, never on the number of runs (Kalibera and Jones, "Rigorous Benchmarking in
Reasonable Time", ISMM 2013).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toolchain.measurement import JOINT_CONFIDENCE, Latency
from toolchain.values import Interval

Rounds = Sequence[NDArray[np.int64]]
Floats = NDArray[np.float64]
RESAMPLES: Final = 1000
_LEVELS: Final = np.array([0.5, 0.9, 0.99])
_NS_PER_MS: Final = 1e6
_CONFIDENCE: Final = 0.95
_SEED: Final = 0


def summarise(processes: Sequence[Rounds], batch: int) -> Latency:
    """Percentiles and throughput of timings, with bootstrap intervals.

    A percentile between two runs is interpolated linearly: Hyndman and Fan, "Sample quantiles in
    statistical packages", The American Statistician 50 (1996), definition 7, numpy's default.

    Args:
      processes: for each process its rounds, of each its durations: nanoseconds, int64 [runs].
      batch: images an inference.

    Raises:
      ValueError: there are no timings.
    """
    rounds = [one for process in processes for one in process]
    if not rounds or not all(one.size for one in rounds):
        raise ValueError("expected at least one timing a round, received none")
    sizes = [len(process) for process in processes]
    once = np.ones((1, len(rounds)), np.int64)
    found = _numbers(rounds, batch, once)[0]
    redrawn = _numbers(rounds, batch, draws(sizes))
    p50, p90, p99, throughput = intervals(found, redrawn, sizes)
    runs = sum(one.size for one in rounds)
    return Latency(runs, len(rounds), p50, p90, p99, throughput)


def mean(processes: Sequence[Sequence[float]]) -> Interval:
    """The mean of one number a round, with its bootstrap interval; at least one round."""
    values = np.array([value for process in processes for value in process])
    sizes = [len(process) for process in processes]
    counts = draws(sizes)
    redrawn = (counts @ values / counts.sum(axis=1))[:, None]
    return intervals(values.mean(keepdims=True), redrawn, sizes)[0]


def ratio(processes: Sequence[Rounds], others: Sequence[Rounds], pairs: int = 1) -> Interval:
    """How many times slower one file is than another that took turns with it.

    In each round the median of one is divided by that of the other, so that what slows a round
    slows both. Logarithms of the ratios are averaged over the rounds of a process; over the
    processes Student's t gives the interval. With one process the rounds take their place.

    Args:
      processes: as in `summarise`; others: the same rounds of the other file. Two processes at
        least, or two rounds of one.
      pairs: how many ratios are looked at together. The more there are, the longer each interval,
        so that all of them hold at once at `JOINT_CONFIDENCE` (Bonferroni).

    Raises:
      ValueError: there are fewer.
    """
    logs = [
        np.array([_log_ratio(a, b) for a, b in zip(one, other, strict=True)])
        for one, other in zip(processes, others, strict=True)
    ]
    units = np.array([log.mean() for log in logs]) if len(logs) > 1 else logs[0]
    if len(units) < 2:
        raise ValueError("expected two rounds at least, received one")
    centre = float(units.mean())
    error = float(units.std(ddof=1)) / math.sqrt(len(units))
    half = _student(len(units), 1 - (1 - JOINT_CONFIDENCE) / pairs) * error
    return Interval(math.exp(centre), math.exp(centre - half), math.exp(centre + half))


def verdict(found: Interval) -> str:
    """What a ratio of latencies says: "faster", "slower", or "inconclusive" when it spans 1."""
    if found.high < 1:
        return "faster"
    return "slower" if found.low > 1 else "inconclusive"


def _log_ratio(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    return math.log(float(np.median(one)) / float(np.median(other)))


def _numbers(rounds: Rounds, batch: int, counts: NDArray[np.int64]) -> Floats:
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


def _quantiles(values: Floats, held: NDArray[np.int64]) -> Floats:
    """Definition 7 of sorted values, of which the first i + 1 occur `held[i]` times in all."""
    places = (held[-1] - 1) * _LEVELS
    below = np.floor(places).astype(np.int64)
    above = np.minimum(below + 1, held[-1] - 1)
    low, high = (values[np.searchsorted(held, one, side="right")] for one in (below, above))
    mixed: Floats = low + (places - below) * (high - low)
    return mixed


def draws(sizes: Sequence[int]) -> NDArray[np.int64]:
    """How often each of `RESAMPLES` draws holds each round: int64 [draws, rounds].

    Processes are drawn with replacement, and within each drawn one its rounds.
    """
    generator = np.random.default_rng(_SEED)
    even = np.full(len(sizes), 1 / len(sizes))
    taken = generator.multinomial(len(sizes), even, RESAMPLES)
    return np.concatenate(
        [
            generator.multinomial(taken[:, place] * size, np.full(size, 1 / size))
            for place, size in enumerate(sizes)
        ],
        axis=1,
    )


def intervals(found: Floats, redrawn: Floats, sizes: Sequence[int]) -> list[Interval]:
    """Numbers with the intervals that their values over the draws give.

    With few processes the plain percentile interval is too short. Its ends are moved outwards as
    Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69
    (2015), section 5.3 ("expanded percentile"): the level a of each tail becomes
    Phi(-sqrt(n / (n - 1)) · t(1 - a, n - 1)).

    Args:
      found: the numbers, [numbers]; redrawn: the same of every draw, [draws, numbers].
      sizes: rounds of each process. With one process its rounds are what varies; with one round
        in all there is nothing to draw from, and the interval is the number itself.
    """
    units = len(sizes) if len(sizes) > 1 else sizes[0]
    tail = expanded_tail(units) if units > 1 else 0.5
    low, high = np.quantile(redrawn, [tail, 1 - tail], axis=0)
    return [
        # The number lies inside its interval even where few rounds make the draws lopsided.
        Interval(float(one), float(min(one, least)), float(max(one, most)))
        for one, least, most in zip(found, low, high, strict=True)
    ]


def expanded_tail(units: int) -> float:
    """The level of one tail that a bootstrap over so many units is cut at; see `intervals`."""
    from scipy import stats

    return float(stats.norm.cdf(-math.sqrt(units / (units - 1)) * _student(units, _CONFIDENCE)))


def _student(units: int, confidence: float) -> float:
    from scipy import stats

    return float(stats.t.ppf((1 + confidence) / 2, units - 1))
