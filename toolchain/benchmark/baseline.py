"""Results held against earlier ones: did a file become slower, worse or larger?

Two sessions are not paired, so their intervals are added up, and a regression is only what is sure
to lie beyond its limit. What may or may not is inconclusive, which is said and fails nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from toolchain.measurement import Benchmark, Measurement
from toolchain.recipe.sections import BenchmarkSection
from toolchain.values import Interval

# What must be the same for latencies of two sessions to be compared at all. A phone's log tells
# the first two at most, this machine all but the first.
_SAME_MACHINE: Final = ("phone", "processor", "logical cores", "architecture")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing compared.

    Attributes:
      verdict: "regression", "inconclusive", "fine" or "not compared".
      text: what was found, a sentence that names the row.
    """

    verdict: str
    text: str


def compare(now: Benchmark, before: Benchmark, limits: BenchmarkSection) -> list[Finding]:
    """Every row of `now` that `before` has too: latency, accuracy and size.

    Args:
      limits: its latency_limit and size_limit are shares, its accuracy_limit is in points.
    """
    old = {_key(row): row for row in before.measurements}
    other = _other_machine(now.machine, before.machine)
    findings: list[Finding] = []
    for row in now.measurements:
        past = old.get(_key(row))
        if past is None:
            findings.append(Finding("not compared", f"{label(row)}: not in the baseline"))
        elif row.failure:
            verdict = "fine" if past.failure else "regression"
            findings.append(Finding(verdict, f"{label(row)}: {row.failure}"))
        else:
            findings += _latency(row, past, limits.latency_limit, other)
            findings += _of_file(row, past, now, before, limits)
    if not any(_key(row) in old for row in now.measurements):
        findings.append(Finding("not compared", "no row of the baseline was measured"))
    return findings


def _other_machine(now: Mapping[str, str], before: Mapping[str, str]) -> str:
    """Why two sessions' latencies are not compared; empty when their machine is the same."""
    if not (now.get("processor") and before.get("processor")):
        return "the processor is not known"
    other = [one for one in _SAME_MACHINE if now.get(one) != before.get(one)]
    return f"the {other[0]} is another" if other else ""


def _key(row: Measurement) -> tuple[str, str, str, int, int]:
    return (row.file, row.runtime, row.provider, row.threads, row.batch)


def label(row: Measurement) -> str:
    """A row in words: "digits.fp32.onnx on cpu, 2 threads, batch 8"."""
    threads = "" if row.threads == 1 else f", {row.threads} threads"
    batch = "" if row.batch == 1 else f", batch {row.batch}"
    return f"{row.file} on {row.provider}{threads}{batch}"


def _latency(row: Measurement, past: Measurement, limit: float, other: str) -> Iterator[Finding]:
    if other:
        yield Finding("not compared", f"{label(row)}: latency, {other}")
        return
    if row.latency is None or past.latency is None:
        return
    found = independent_ratio(row.latency.p50_ms, past.latency.p50_ms)
    text = (
        f"{label(row)}: p50 {row.latency.p50_ms.value:.3g} ms, {found.value:.2f} times the "
        f"baseline's ({found.low:.2f} to {found.high:.2f}), {1 + limit:.2f} is allowed"
    )
    yield Finding(_judged(found, 1 + limit), text)


def _of_file(
    row: Measurement,
    past: Measurement,
    now: Benchmark,
    before: Benchmark,
    limits: BenchmarkSection,
) -> Iterator[Finding]:
    """What is the same in every row of a file is told with its single stream."""
    if row.batch != 1:
        return
    yield _size(row, past, limits.size_limit)
    if row.top1 is None or past.top1 is None:
        return
    if now.data_sha256 != before.data_sha256:
        yield Finding("not compared", f"{label(row)}: accuracy, the test photos are others")
        return
    lost = difference(past.top1, row.top1)
    points = Interval(100 * lost.value, 100 * lost.low, 100 * lost.high)
    yield Finding(
        _judged(points, limits.accuracy_limit),
        f"{label(row)}: top-1 {100 * row.top1.value:.2f} %, lost {points.value:.2f} points "
        f"({points.low:.2f} to {points.high:.2f}), {limits.accuracy_limit:g} is allowed",
    )


def _size(row: Measurement, past: Measurement, limit: float) -> Finding:
    if not (row.bytes and past.bytes):
        return Finding("not compared", f"{label(row)}: size, a log does not tell it")
    grown = row.bytes / past.bytes - 1
    return Finding(
        "regression" if grown > limit else "fine",
        f"{label(row)}: {row.bytes:,} bytes, {grown:+.1%} against the baseline, "
        f"{limit:+.1%} is allowed",
    )


def _judged(found: Interval, most: float) -> str:
    if found.low > most:
        return "regression"
    return "inconclusive" if found.high > most else "fine"


def independent_ratio(one: Interval, other: Interval) -> Interval:
    """one / other of two numbers that were not measured together, with its interval.

    The distances to the ends add up as independent errors do, in logarithms: the low end of the
    ratio comes from the low end of `one` and the high end of `other`.
    """
    centre = math.log(one.value / other.value)
    down = math.hypot(math.log(one.value / one.low), math.log(other.high / other.value))
    up = math.hypot(math.log(one.high / one.value), math.log(other.value / other.low))
    return Interval(math.exp(centre), math.exp(centre - down), math.exp(centre + up))


def difference(one: Interval, other: Interval) -> Interval:
    """one - other of two shares with their Wilson intervals.

    Newcombe, "Interval estimation for the difference between independent proportions", Statistics
    in Medicine 17 (1998), method 10. On the same photos the two go together, so the interval is
    rather too wide.
    """
    centre = one.value - other.value
    down = math.hypot(one.value - one.low, other.high - other.value)
    up = math.hypot(one.high - one.value, other.value - other.low)
    return Interval(centre, centre - down, centre + up)
