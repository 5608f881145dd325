"""The numbers of a measurement, from timings whose answer is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.benchmark import statistics
from toolchain.benchmark.statistics import expanded_tail, mean, ratio, summarise, verdict


def rounds(milliseconds: np.ndarray, count: int = 1) -> list[list[np.ndarray]]:
    """One process with `count` rounds."""
    return [np.array_split((milliseconds * 1_000_000).astype(np.int64), count)]


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
        summarise([[np.empty(0, np.int64)]], batch=1)


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


def test_the_interval_knows_that_processes_lie_apart() -> None:
    generator = np.random.default_rng(6)
    levels = [10 + generator.normal(0, 1) for _ in range(5)]
    nested = [rounds(np.full(80, level) + generator.normal(0, 0.01, 80), 4)[0] for level in levels]
    flat = [[one for process in nested for one in process]]
    of_processes, of_rounds = (summarise(one, batch=1).p50_ms for one in (nested, flat))
    assert of_processes.high - of_processes.low > of_rounds.high - of_rounds.low


def test_intervals_of_few_processes_hold_the_truth_as_often_as_they_say() -> None:
    generator, trials, held = np.random.default_rng(7), 100, 0
    for _ in range(trials):
        levels = np.exp(generator.normal(np.log(3), 0.02, 5))
        nested = [
            [(1e6 * level * np.exp(generator.normal(0, 0.03, 30))).astype(np.int64)] * 2
            for level in levels
        ]
        p50 = summarise(nested, batch=1).p50_ms
        held += p50.low <= 3 <= p50.high
    assert held / trials >= 0.9


def autocorrelated(generator: np.random.Generator, count: int, memory: float) -> np.ndarray:
    """A stationary series of standard deviation 1 whose neighbours are alike."""
    steps = generator.normal(0, np.sqrt(1 - memory**2), count)
    values = np.empty(count)
    values[0] = generator.normal()
    for place in range(1, count):
        values[place] = memory * values[place - 1] + steps[place]
    return values


def session(
    generator: np.random.Generator, slower: float = 1.0, files: int = 2
) -> list[list[list[np.ndarray]]]:
    """What a real session looks like: file -> process -> round -> nanoseconds.

    The clock wanders by 5 % and falls by another 10 % to the end, for all files alike; a process
    lies 1 % off another of the same file; a round has 2 % of its own; runs follow one another with
    3 % that are correlated, and 3 in 100 are interrupted. The last file is `slower`.
    """
    processes, in_each, runs = 10, 2, 30
    clock = 0.05 * autocorrelated(generator, processes * in_each, 0.8)
    clock += np.linspace(0, 0.1, processes * in_each)
    made = []
    for file in range(files):
        level = np.log(3e6) + (np.log(slower) if file == files - 1 else 0.0)
        made.append([])
        for process in range(processes):
            place = level + generator.normal(0, 0.01)
            made[file].append([])
            for one in range(in_each):
                noise = 0.03 * autocorrelated(generator, runs, 0.5)
                noise += (generator.random(runs) < 0.03) * generator.exponential(0.5, runs)
                common = place + clock[process * in_each + one] + generator.normal(0, 0.02)
                made[file][process].append(np.exp(common + noise).astype(np.int64))
    return made


def test_a_file_against_itself_is_called_different_in_one_session_of_twenty_at_most() -> None:
    generator, sessions = np.random.default_rng(11), 600
    found = [verdict(ratio(*session(generator))) for _ in range(sessions)]
    false_alarms = sum(one != "inconclusive" for one in found)
    assert false_alarms <= 0.05 * sessions, f"{false_alarms} of {sessions}"


def test_four_copies_of_a_file_raise_a_false_alarm_in_one_session_of_twenty_at_most() -> None:
    generator, sessions, false_alarms = np.random.default_rng(12), 300, 0
    for _ in range(sessions):
        pairs = list(itertools.combinations(session(generator, files=4), 2))
        found = [verdict(ratio(*pair, pairs=len(pairs))) for pair in pairs]
        false_alarms += any(one != "inconclusive" for one in found)
    assert false_alarms <= 0.05 * sessions, f"{false_alarms} of {sessions}"


def test_the_usual_way_of_comparing_fails_the_same_test() -> None:
    # All runs pooled, as if each were independent: what an interval of most tools rests on.
    generator, sessions, false_alarms = np.random.default_rng(11), 100, 0
    for _ in range(sessions):
        logs = [
            np.log(np.concatenate([one for process in file for one in process]))
            for file in session(generator)
        ]
        error = np.sqrt(sum(log.var(ddof=1) / log.size for log in logs))
        false_alarms += abs(logs[0].mean() - logs[1].mean()) > 1.96 * error
    assert false_alarms > 0.15 * sessions


def test_a_difference_of_five_percent_is_found() -> None:
    generator = np.random.default_rng(13)
    found = []
    for _ in range(60):
        fast, slow = session(generator, slower=1.05)
        found.append(ratio(slow, fast))
    assert sum(verdict(one) == "slower" for one in found) >= 50
    assert np.mean([one.value for one in found]) == pytest.approx(1.05, abs=0.005)
    assert sum(one.low <= 1.05 <= one.high for one in found) >= 57


def test_a_ratio_turned_round_is_its_inverse() -> None:
    fast, slow = session(np.random.default_rng(14), slower=1.3)
    one, other = ratio(fast, slow), ratio(slow, fast)
    assert one.value == pytest.approx(1 / other.value)
    assert (one.low, one.high) == pytest.approx((1 / other.high, 1 / other.low))
    assert (verdict(one), verdict(other)) == ("faster", "slower")


def test_a_single_round_is_no_comparison() -> None:
    one = rounds(np.arange(1, 9))
    with pytest.raises(ValueError, match="two rounds"):
        ratio(one, one)
    two = rounds(np.arange(1, 9), 2)
    assert ratio(two, two).value == 1.0


def test_the_mean_of_a_number_a_round() -> None:
    assert mean([[2.0, 4.0], [3.0, 3.0]]).value == 3.0
    assert mean([[1.0]]).low == 1.0


def test_few_rounds_are_cut_further_out_than_many() -> None:
    assert expanded_tail(5) < expanded_tail(20) < 0.025
    assert expanded_tail(10_000) == pytest.approx(0.025, abs=1e-4)
