"""Results against earlier ones: what fails, what is only said, and what is not compared."""

from __future__ import annotations

import dataclasses

import pytest
import report_values as values

from toolchain.benchmark.baseline import compare, difference, independent_ratio
from toolchain.measurement import Benchmark, Measurement
from toolchain.recipe.sections import BenchmarkSection
from toolchain.values import (
    Interval,
)

LIMITS = BenchmarkSection(latency_limit=0.1, accuracy_limit=0.5, size_limit=0.02)
MACHINE = {"processor": "Example", "logical cores": "2", "architecture": "x86_64"}


def session(*rows: Measurement, **machine: str) -> Benchmark:
    return Benchmark(MACHINE | machine, "", "", rows, data_sha256="d")


def row(p50: float = 1.0, share: float = 0.01, **changes: object) -> Measurement:
    made = values.measured("digits.fp32.onnx", p50)
    latency = dataclasses.replace(made.latency, p50_ms=values.near(p50, share))
    top1 = Interval(0.98, 0.975, 0.985)
    return dataclasses.replace(made, **{"latency": latency, "top1": top1} | changes)


def verdicts(now: Benchmark, before: Benchmark) -> dict[str, str]:
    """The kind of comparison -> its verdict."""
    kinds = {"p50": "latency", "bytes": "size", "top-1": "accuracy"}
    return {
        next((kind for word, kind in kinds.items() if word in one.text), one.text): one.verdict
        for one in compare(now, before, LIMITS)
    }


def test_the_same_results_are_fine_as_far_as_they_can_tell() -> None:
    found = verdicts(session(row()), session(row()))
    # Accuracies known to half a point may lie 0.7 apart, and half a point is the limit.
    assert found == {"latency": "fine", "size": "fine", "accuracy": "inconclusive"}


@pytest.mark.parametrize(
    ("p50", "share", "verdict"),
    [
        (1.05, 0.01, "fine"),
        (1.3, 0.01, "regression"),
        (1.3, 0.3, "inconclusive"),
        (1.1, 0.01, "inconclusive"),
        (0.5, 0.01, "fine"),
    ],
)
def test_latency_fails_only_when_it_is_surely_beyond_its_limit(
    p50: float, share: float, verdict: str
) -> None:
    assert verdicts(session(row(p50, share)), session(row()))["latency"] == verdict


@pytest.mark.parametrize(
    ("top1", "verdict"),
    [
        (Interval(0.9, 0.89, 0.91), "regression"),
        (Interval(0.97, 0.96, 0.98), "inconclusive"),
        (Interval(0.995, 0.99, 0.999), "fine"),
    ],
)
def test_accuracy_fails_only_when_it_is_surely_beyond_its_limit(
    top1: Interval, verdict: str
) -> None:
    worse = dataclasses.replace(row(), top1=top1)
    assert verdicts(session(worse), session(row()))["accuracy"] == verdict


@pytest.mark.parametrize(("factor", "verdict"), [(1.01, "fine"), (1.1, "regression")])
def test_a_file_may_not_grow_beyond_its_limit(factor: float, verdict: str) -> None:
    grown = row(bytes=int(row().bytes * factor))
    assert verdicts(session(grown), session(row()))["size"] == verdict


def test_a_file_that_no_longer_runs_is_a_regression() -> None:
    broken = values.measured("digits.fp32.onnx", failure="crashed: signal 11")
    (found,) = compare(session(broken), session(row()), LIMITS)
    assert (found.verdict, "signal 11" in found.text) == ("regression", True)
    (known,) = compare(session(broken), session(broken), LIMITS)
    assert known.verdict == "fine"


def test_another_machine_or_other_photos_are_not_compared() -> None:
    found = verdicts(session(row(9.0), processor="Another"), session(row()))
    assert "not compared" in found.values()
    assert "regression" not in found.values()
    assert found["size"] == "fine"
    other = dataclasses.replace(session(row()), data_sha256="e")
    texts = [one.text for one in compare(session(row()), other, LIMITS)]
    assert any("the test photos are others" in text for text in texts)


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        ({"phone": "Pixel", "processor": "Tensor"}, ""),
        ({"phone": "Galaxy", "processor": "Tensor"}, "the phone is another"),
        ({"phone": "Pixel", "processor": "Exynos"}, "the processor is another"),
        ({"phone": "Pixel"}, "the processor is not known"),
    ],
)
def test_phones_are_compared_when_they_are_known_to_be_the_same(
    machine: dict[str, str], reason: str
) -> None:
    one = {"phone": "Pixel", "processor": "Tensor"}
    before = Benchmark(one, "", "", (row(),))
    now = Benchmark(machine, "", "", (row(9.0),))
    told = [found for found in compare(now, before, LIMITS) if "bytes" not in found.text]
    assert (told[0].verdict, reason in told[0].text) == (
        "not compared" if reason else "regression",
        True,
    )


def test_logs_without_processor_or_size_are_not_compared() -> None:
    log = Benchmark({"phone": "phone"}, "", "", (row(bytes=0, top1=None),))
    found = compare(log, log, LIMITS)
    assert [one.verdict for one in found] == ["not compared"] * 2
    assert ["processor is not known" in one.text for one in found] == [True, False]


def test_a_row_that_the_baseline_has_not_is_said() -> None:
    found = compare(session(row(threads=4)), session(row()), LIMITS)
    assert [one.verdict for one in found] == ["not compared", "not compared"]
    assert "4 threads" in found[0].text
    assert "no row" in found[1].text


def test_intervals_of_two_sessions_add_up() -> None:
    near = values.near(2.0, 0.03)
    found = independent_ratio(near, values.near(1.0, 0.04))
    assert found.value == pytest.approx(2.0)
    assert found.high / found.value - 1 == pytest.approx(0.05, abs=0.002)
    assert independent_ratio(near, near).low < 1 < independent_ratio(near, near).high


def test_the_difference_of_two_shares_is_newcombes() -> None:
    # Newcombe 1998, table II, (a): 56/70 against 48/80, method 10: 0.0524 to 0.3339.
    found = difference(Interval(0.8, 0.6920, 0.8769), Interval(0.6, 0.4904, 0.7005))
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-4)
