"""What LiteRT's `benchmark_model` printed on a phone -> the `Benchmark` it is one of.

The tool (https://ai.google.dev/edge/litert/models/measurement) prints, once a model:

    Graph: [/data/local/tmp/digits.fp32.tflite]
    Num threads: [4]
    count=50 first=… curr=… min=… max=… avg=… std=… p5=… median=… p95=…      (microseconds)
    Inference timings in us: Init: …, First inference: …, Warmup (avg): …, Inference (avg): …
    Memory footprint delta from the start of the tool (MB): init=… overall=…

`adb logcat` puts its own prefix before each line, and older tools leave p5, median and p95 out. A
log may hold several models, and lines "phone: …", "android: …", "processor: …", "date: …",
"command: …" that whoever ran the tool put into it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from toolchain.benchmark.candidate import deflated
from toolchain.contract import ExportedModel
from toolchain.errors import InputError
from toolchain.measurement import Benchmark, Latency, Measurement
from toolchain.values import Interval

MAX_CHARACTERS: Final = 16 * 1024 * 1024
_NUMBER: Final = r"([0-9]{1,15}(?:\.[0-9]{1,15})?(?:e\+[0-9]{1,2})?)"
_GRAPH: Final = re.compile(r"Graph: \[(.{1,1000})\]")
_THREADS: Final = re.compile(r"(?:Num threads|#threads used for CPU inference): \[([0-9]{1,3})\]")
_SUMMARY: Final = re.compile(
    rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}, Warmup"
)
_STATISTICS: Final = re.compile(r"\bcount=[0-9].{1,400}$")
_PAIR: Final = re.compile(rf"([a-z0-9]{{1,9}})={_NUMBER}")
_SIZE: Final = re.compile(rf"The input model file size \(MB\): {_NUMBER}")
_MEMORY: Final = re.compile(
    rf"(?:(?:Memory footprint delta from the start of the tool|Peak memory footprint) \(MB\): "
    rf"init=\S{{1,40}} overall=|Overall peak memory footprint \(MB\) via periodic monitoring: )"
    rf"{_NUMBER}"
)
_FACT: Final = re.compile(r"^(phone|android|processor|date|command): (.{1,500})$")
_DELEGATES: Final = {
    "gpu": re.compile(r"Use gpu ?: \[1\]"),
    "nnapi": re.compile(r"Use nnapi ?: \[1\]", re.IGNORECASE),
}
_REPLACED: Final = re.compile(
    r"Replacing ([0-9]{1,6}) out of ([0-9]{1,6}) node\(s\) with delegate \((\w{1,60})\)"
)
# A median of n normal runs varies by sqrt(pi / 2) times what their mean varies by.
_MEDIAN_FACTOR: Final = math.sqrt(math.pi / 2)
# The tool tells sizes to six digits.
_TOLD_TO: Final = 1e-5
_Z95: Final = 1.959963984540054


@dataclass(slots=True)
class _Entry:
    """What the log says of one model so far; `counts` is its newest line of statistics."""

    graph: str
    threads: int
    provider: str = "cpu"
    bytes: int = 0
    nodes: dict[str, int] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    init_us: float | None = None
    first_us: float | None = None
    peak_mib: float | None = None


def read_phone_log(
    text: str, name: str, exported: Mapping[str, ExportedModel] | None = None
) -> Benchmark:
    """The models of a log as rows; one that has no median is a row that says so.

    Args:
      text: the log; name: of its file.
      exported: file name -> the export that may have been pushed to the phone; one of the size in
        the log gives hash, precision and zipped size.

    Raises:
      InputError: it is no log of benchmark_model.
    """
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"a log has at most {MAX_CHARACTERS:,} characters", name)
    lines = text.splitlines()
    entries = _entries(lines)
    if not entries:
        raise InputError(
            "expected a log of LiteRT's benchmark_model, found no 'Graph: [...]' in it",
            name,
            "run it with adb shell and keep all that it prints",
        )
    told = (found for line in lines if (found := _FACT.match(line)))
    facts = {found[1]: found[2].strip() for found in told}
    date, command = facts.pop("date", ""), facts.pop("command", f"benchmark_model, see {name}")
    machine = {"phone": facts.pop("phone", PurePosixPath(name).stem), **facts}
    rows = tuple(_row(entry, exported or {}) for entry in entries)
    return Benchmark(machine=machine, date=date, command=command, measurements=rows)


def _entries(lines: Sequence[str]) -> list[_Entry]:
    """The models of a log. Threads are told before the graph, everything else after it."""
    entries: list[_Entry] = []
    threads, done = 1, True
    for line in lines:
        if found := _THREADS.search(line):
            threads = int(found[1])
            if not done:
                entries[-1].threads = threads
        if found := _GRAPH.search(line):
            entries.append(_Entry(found[1], threads))
            done = False
        elif entries:
            _note(entries[-1], line)
        if _SUMMARY.search(line):
            threads, done = 1, True
    return entries


def _note(entry: _Entry, line: str) -> None:
    if found := _STATISTICS.search(line):
        entry.counts = {key: float(number) for key, number in _PAIR.findall(found[0])}
    elif found := _SUMMARY.search(line):
        entry.init_us, entry.first_us = float(found[1]), float(found[2])
    elif found := _MEMORY.search(line):
        entry.peak_mib = float(found[1])
    elif found := _SIZE.search(line):
        entry.bytes = round(float(found[1]) * 1e6)
    elif found := _REPLACED.search(line):
        taken, every = int(found[1]), int(found[2])
        entry.nodes = {found[3]: taken, "LiteRT kernels": every - taken}
    for provider, used in _DELEGATES.items():
        if used.search(line):
            entry.provider = provider


def _row(entry: _Entry, exported: Mapping[str, ExportedModel]) -> Measurement:
    file = PurePosixPath(entry.graph).name
    model = _pushed(entry, exported.get(file))
    finished = entry.init_us is not None and entry.first_us is not None
    latency = _latency(entry.counts) if finished else None
    return Measurement(
        file=file,
        sha256=model.sha256 if model else "",
        format="tflite",
        precision=model.contract.precision if model else "",
        runtime="litert",
        provider=entry.provider,
        threads=entry.threads,
        batch=1,
        bytes=model.path.stat().st_size if model else entry.bytes,
        zipped_bytes=deflated(model.path) if model else None,
        latency=latency,
        load_ms=entry.init_us / 1000 if entry.init_us is not None else None,
        first_ms=entry.first_us / 1000 if entry.first_us is not None else None,
        peak_mib=entry.peak_mib,
        nodes=entry.nodes,
        failure="" if latency else _why(entry, finished),
    )


def _pushed(entry: _Entry, model: ExportedModel | None) -> ExportedModel | None:
    """The export of the same name, if its size is the one in the log: else it is a later one."""
    if model is None:
        return None
    same = math.isclose(model.path.stat().st_size, entry.bytes, rel_tol=_TOLD_TO)
    return model if same else None


def _why(entry: _Entry, finished: bool) -> str:
    if not finished:
        return "the log ends before this model was timed"
    average = entry.counts.get("avg", 0.0) / 1000
    return f"the log has an average of {average:.3g} ms and no median: use a newer benchmark_model"


def _latency(counts: Mapping[str, float]) -> Latency | None:
    """Median and mean with intervals from their deviation, as if runs were independent."""
    if not {"count", "median", "avg"} <= set(counts) or min(counts["median"], counts["avg"]) <= 0:
        return None
    runs = int(counts["count"])
    error = _Z95 * counts.get("std", 0.0) / math.sqrt(max(1, runs)) / 1000
    median, mean = counts["median"] / 1000, counts["avg"] / 1000
    half = _MEDIAN_FACTOR * error
    slowest = Interval(mean, max(mean - error, mean / 2), mean + error)
    return Latency(
        runs=runs,
        rounds=1,
        p50_ms=Interval(median, max(median - half, median / 2), median + half),
        p90_ms=None,
        p99_ms=None,
        throughput=Interval(1000 / mean, 1000 / slowest.high, 1000 / slowest.low),
    )
