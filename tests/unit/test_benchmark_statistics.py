"""The numbers of a measurement, from timings whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.benchmark.statistics import rounds_of, summarise, throughput


def test_percentiles_of_one_to_a_hundred_and_one_milliseconds() -> None:
    shuffled = np.random.default_rng(3).permutation(np.arange(1, 102)) * 1_000_000
    latency = summarise(shuffled.astype(np.int64))
    assert (latency.p50_ms, latency.p90_ms, latency.p99_ms) == (51.0, 91.0, 100.0)
    assert latency.mean_ms == 51.0


def test_a_percentile_between_two_runs_is_interpolated() -> None:
    latency = summarise(np.array([1_000_000, 2_000_000], np.int64))
    assert latency.p50_ms == 1.5
    assert latency.p90_ms == pytest.approx(1.9)


def test_one_slow_run_moves_the_p99_and_not_the_p50() -> None:
    steady = np.full(100, 2_000_000, np.int64)
    slow = steady.copy()
    slow[40] = 90_000_000
    assert summarise(slow).p50_ms == summarise(steady).p50_ms
    assert summarise(slow).p99_ms > summarise(steady).p99_ms


def test_no_timings_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        summarise(np.empty(0, np.int64))


def test_throughput_counts_images_not_batches() -> None:
    assert throughput(2.0, batch=1) == 500.0
    assert throughput(2.0, batch=8) == 4000.0


@given(runs=st.integers(1, 100_000), rounds=st.integers(1, 50))
def test_rounds_keep_every_run_and_are_even(runs: int, rounds: int) -> None:
    spread = rounds_of(runs, rounds)
    assert sum(spread) == runs
    assert len(spread) <= rounds
    assert min(spread) >= 1
    assert max(spread) - min(spread) <= 1
