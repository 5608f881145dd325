"""The numbers of a measurement, from timings whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.benchmark import statistics
from toolchain.benchmark.statistics import expanded_tail, rounds_of, summarise


def rounds(milliseconds: np.ndarray, count: int = 1) -> list[np.ndarray]:
    return np.array_split((milliseconds * 1_000_000).astype(np.int64), count)


def test_percentiles_of_one_to_a_hundred_and_one_milliseconds() -> None:
    shuffled = np.random.default_rng(3).permutation(np.arange(1, 102))
    latency = summarise(rounds(shuffled, 10), batch=1)
    assert (latency.p50_ms.value, latency.p90_ms.value, latency.p99_ms.value) == (51.0, 91.0, 100.0)
    assert latency.throughput.value == pytest.approx(1000 / 51)
    assert (latency.runs, latency.rounds) == (101, 10)


def test_a_percentile_between_two_runs_is_interpolated() -> None:
    latency = summarise(rounds(np.array([1, 2])), batch=1)
    assert latency.p50_ms.value == 1.5
    assert latency.p90_ms.value == pytest.approx(1.9)


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_a_mixture_of_rounds_has_the_percentiles_of_its_timings(sizes: list[int]) -> None:
    generator = np.random.default_rng(sum(sizes))
    parts = [generator.integers(1, 10**7, size) for size in sizes]
    counts = generator.integers(0, 3, (5, len(sizes)))
    counts[:, 0] += 1
    for count, numbers in zip(counts, statistics._numbers(parts, 2, counts), strict=True):
        pooled = np.concatenate([np.tile(part, n) for part, n in zip(parts, count, strict=True)])
        expected = [*np.percentile(pooled / 1e6, [50, 90, 99]), 2e9 / pooled.mean()]
        assert numbers == pytest.approx(expected)


def test_one_slow_run_moves_the_p99_and_not_the_p50() -> None:
    steady = np.full(100, 2)
    slow = steady.copy()
    slow[40] = 90
    before, after = (summarise(rounds(one, 10), batch=1) for one in (steady, slow))
    assert after.p50_ms == before.p50_ms
    assert after.p99_ms.value > before.p99_ms.value


def test_no_timings_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        summarise([], batch=1)
    with pytest.raises(ValueError, match="at least one"):
        summarise([np.empty(0, np.int64)], batch=1)


def test_throughput_counts_images_not_batches() -> None:
    two = rounds(np.full(10, 2))
    assert summarise(two, batch=1).throughput.value == 500.0
    assert summarise(two, batch=8).throughput.value == 4000.0


def test_one_round_alone_says_nothing_about_its_spread() -> None:
    p50 = summarise(rounds(np.arange(1, 100)), batch=1).p50_ms
    assert p50.low == p50.value == p50.high


def test_the_interval_knows_that_runs_of_a_round_are_alike() -> None:
    # 20 rounds, each at a level of its own: what varies are 20 numbers, not 2,000.
    generator = np.random.default_rng(5)
    levels = np.repeat(10 + generator.normal(0, 1, 20), 100)
    together = summarise(rounds(levels + generator.normal(0, 0.01, 2000), 20), batch=1).p50_ms
    apart = summarise(rounds(generator.permutation(levels), 20), batch=1).p50_ms
    assert together.high - together.low > 3 * (apart.high - apart.low)


def test_intervals_of_few_rounds_hold_the_truth_as_often_as_they_say() -> None:
    generator, trials, held = np.random.default_rng(7), 120, 0
    for _ in range(trials):
        levels = generator.normal(10, 1, 12)
        timings = [1e6 * (level + generator.normal(0, 0.2, 15)) for level in levels]
        p50 = summarise([one.astype(np.int64) for one in timings], batch=1).p50_ms
        held += p50.low <= 10 <= p50.high
    assert held / trials >= 0.92


def test_few_rounds_are_cut_further_out_than_many() -> None:
    assert expanded_tail(5) < expanded_tail(20) < 0.025
    assert expanded_tail(10_000) == pytest.approx(0.025, abs=1e-4)


@given(runs=st.integers(1, 100_000), rounds=st.integers(1, 50))
def test_rounds_keep_every_run_and_are_even(runs: int, rounds: int) -> None:
    spread = rounds_of(runs, rounds)
    assert sum(spread) == runs
    assert len(spread) <= rounds
    assert min(spread) >= 1
    assert max(spread) - min(spread) <= 1
