"""A `Benchmark` and what was found against a baseline, as a person reads them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.measurement import JOINT_CONFIDENCE, Benchmark, Latency, Measurement, Preparation
from toolchain.terminal import say, table
from toolchain.values import Interval

if TYPE_CHECKING:
    from toolchain.benchmark.baseline import Finding


def show(result: Benchmark) -> None:
    """Latency, offline throughput, differences, and whether to believe them."""
    rows = [row for row in result.measurements if row.latency]
    _single_stream([row for row in rows if row.batch == 1])
    _offline(rows)
    _differences(result)
    for row in result.measurements:
        if row.failure:
            say(f"  {row.file}, batch {row.batch}: {row.failure}")
    _nodes(rows)
    for one in result.preparation:
        _preparation(one)
    _noise(result)


def _single_stream(rows: Sequence[Measurement]) -> None:
    if not rows:
        return
    columns = ("file", "on", "threads", "p50 ms", "95 %", "p90", "p99", "runs", "photos/s", "mJ")
    timed = [_latency(row, row.latency) for row in rows if row.latency]
    table("one photo at a time", columns, timed)
    facts = ("file", "on", "load ms", "first", "MiB peak", "MB", "zipped")
    table("files", (*facts, "top-1 %", "top-5 %", "F1"), [_file(row) for row in rows])


def _latency(row: Measurement, latency: Latency) -> list[str]:
    return [
        row.file,
        row.provider,
        str(row.threads),
        _digits(latency.p50_ms),
        _range(latency.p50_ms),
        _digits(latency.p90_ms),
        _digits(latency.p99_ms),
        f"{latency.runs:,}",
        f"{latency.throughput.value:.0f}",
        _digits(row.energy_mj),
    ]


def _file(row: Measurement) -> list[str]:
    return [
        row.file,
        row.provider,
        _digits(row.load_ms),
        _digits(row.first_ms),
        _digits(row.peak_mib),
        _digits(row.bytes / 1e6),
        _digits(row.zipped_bytes and row.zipped_bytes / 1e6),
        f"{100 * row.top1.value:.2f}" if row.top1 else "",
        f"{100 * row.top5.value:.2f}" if row.top5 else "",
        f"{row.f1:.4f}" if row.f1 is not None else "",
    ]


def _offline(rows: Sequence[Measurement]) -> None:
    """Images a second of every batch that a file takes; the best one is offline's answer."""
    batches = sorted({row.batch for row in rows})
    if batches in ([], [1]):
        return
    drawn = []
    for key in dict.fromkeys((row.file, row.provider, row.threads) for row in rows):
        found = {r.batch: r.latency for r in rows if (r.file, r.provider, r.threads) == key}
        speeds = {batch: one.throughput for batch, one in found.items() if one}
        best = max(speeds, key=lambda batch: speeds[batch].value)
        cells = [f"{speeds[one].value:.0f}" if one in speeds else "" for one in batches]
        drawn.append([key[0], key[1], str(key[2]), *cells, str(best), _range(speeds[best])])
    columns = ["file", "on", "threads", *(f"batch {batch}" for batch in batches), "best", "95 %"]
    table("photos a second, many at a time", columns, drawn)


def _differences(result: Benchmark) -> None:
    rows = result.measurements
    short = _short([row.file for row in rows])
    drawn = [
        [
            short[one.row],
            short[one.other],
            str(rows[one.row].threads),
            f"{one.ratio.value:.3f}",
            _range(one.ratio),
            one.verdict,
        ]
        for one in result.comparisons
        if rows[one.row].batch == 1
    ]
    if drawn:
        columns = ("file", "against", "threads", "times the p50", "interval", "it is")
        sure = f"all intervals hold together at {JOINT_CONFIDENCE:.0%}"
        table(f"differences, from the same rounds; {sure}", columns, drawn, texts=2)


def _short(names: Sequence[str]) -> list[str]:
    """Names without the parts in front, up to a dot, that they all share."""
    columns = zip(*(name.split(".")[:-1] for name in names), strict=False)
    shared = sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))
    return [".".join(name.split(".")[shared:]) for name in names]


def _nodes(rows: Iterable[Measurement]) -> None:
    for row in rows:
        if row.batch == 1 and len(row.nodes) > 1:
            parts = ", ".join(f"{count} on {name}" for name, count in row.nodes.items())
            say(f"  {row.file} on {row.provider}: its nodes ran {parts}")


def _preparation(one: Preparation) -> None:
    say(
        f"  before it: decode {_digits(one.decode_ms.value)} ms and resize to {one.size} "
        f"{_digits(one.resize_ms.value)} ms a photo ({one.photos})"
    )


def _noise(result: Benchmark) -> None:
    noise = result.noise
    if noise is None:
        return
    if noise.verdict == "quiet":
        say(
            f"  the machine was quiet: drift {noise.drift:+.1%}, steal {noise.steal:.1%}, "
            f"others {noise.others:.2f} processors"
        )
    else:
        say(f"  the machine was noisy, take the numbers with care: {'; '.join(noise.reasons)}")


def show_findings(findings: Sequence[Finding], path: Path) -> None:
    """Everything that is not fine, and how much is."""
    for one in findings:
        if one.verdict != "fine":
            say(f"  {one.verdict}: {one.text}")
    fine = sum(one.verdict == "fine" for one in findings)
    say(f"  against {path}: {fine} of {len(findings)} comparisons are within their limits")


def _range(found: Interval) -> str:
    if found.low == found.high:
        return "one round"
    return f"{_digits(found.low)} to {_digits(found.high)}"


def _digits(value: float | Interval | None) -> str:
    """Three digits that count; of an interval its middle number."""
    if value is None:
        return ""
    if isinstance(value, Interval):
        value = value.value
    return f"{value:.{3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0}f}"
