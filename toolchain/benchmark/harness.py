"""Times every exported file on its runtime, each in a child process of its own.

All files of one thread count are open at the same time and are timed in turns, so that whatever
else the machine does, and its clock, hit all of them alike. Only one runs at any moment; the
others wait for their turn and use no processor.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toolchain import terminal
from toolchain.benchmark import machine
from toolchain.benchmark.statistics import rounds_of, summarise, throughput
from toolchain.contract import ExportedModel
from toolchain.errors import InputError, ModelError
from toolchain.recipe.sections import BenchmarkSection
from toolchain.runtimes.isolate import IsolatedRunner
from toolchain.values import Benchmark, Measurement

BATCH: Final = 1
ROUNDS: Final = 10
WARMUP_RUNS: Final = 10
# The other files' turns push this one's weights out of the caches; what a user feels is the
# steady state, so a turn begins with a few runs that do not count.
_RETURN_RUNS: Final = 3
# A child that does not answer for long is taken for hung, so one request stays far below that.
_REQUEST_SECONDS: Final = 5.0
_SEED: Final = 0


@dataclass(frozen=True, slots=True)
class Setup:
    """One row to be: a file on a provider with so many threads."""

    model: ExportedModel
    provider: str
    threads: int


@dataclass(slots=True)
class _Lane:
    """A setup while it is measured: its child process and what came out so far."""

    setup: Setup
    runner: IsolatedRunner | None = None
    load_ms: float = 0.0
    first_ms: float = 0.0
    peak_mib: float = 0.0
    fastest_s: float = math.inf
    timings: list[NDArray[np.int64]] = field(default_factory=list)
    failure: str = ""


def benchmark(
    exported: Sequence[ExportedModel],
    section: BenchmarkSection,
    accuracies: Mapping[str, float],
    command: str,
) -> Benchmark:
    """Latency, throughput and memory of every file; a file that crashes gives a row that says so.

    Args:
      exported: the files; .tflite runs on litert, .onnx on onnxruntime once a provider.
      section: providers, thread counts, runs and warm-up.
      accuracies: file name -> top-1 in 0..1 as verify measured it; files may be missing.
      command: what re-makes these numbers.

    Raises:
      MachineError: a provider that was asked for is not there. Nothing falls back to the CPU.
      InputError: a GPU provider was asked for and there is no .onnx file that it could run.
    """
    _require_onnx(exported, section.providers)
    facts = machine.describe()
    date = datetime.now(UTC).isoformat(timespec="seconds")
    steps = _steps(exported, section, accuracies)
    turns = len(section.threads) * (2 + len(rounds_of(section.runs, ROUNDS)))
    rows: list[Measurement] = []
    for finished in terminal.track(steps, "benchmark", total=turns):
        rows += finished
    return Benchmark(machine=facts, date=date, command=command, measurements=tuple(rows))


def _steps(
    exported: Sequence[ExportedModel], section: BenchmarkSection, accuracies: Mapping[str, float]
) -> Iterator[list[Measurement]]:
    """One item a turn, for the progress bar; the last of a thread count holds its rows."""
    for threads in section.threads:
        lanes = [_Lane(setup) for setup in setups(exported, section.providers, threads)]
        with _closing(lanes):
            for _ in _measure(lanes, section):
                yield []
        yield [_row(lane, accuracies) for lane in lanes]


def _require_onnx(exported: Sequence[ExportedModel], providers: Sequence[str]) -> None:
    if any(model.contract.format == "onnx" for model in exported) or set(providers) <= {"cpu"}:
        return
    raise InputError(
        f"expected an .onnx file for benchmark.providers {', '.join(providers)}, found none",
        "benchmark.providers",
        'add "onnx" to export.formats, or benchmark on cpu',
    )


def setups(
    exported: Sequence[ExportedModel], providers: Sequence[str], threads: int
) -> list[Setup]:
    """Which rows one thread count gives: LiteRT has the CPU only, onnxruntime every provider."""
    return [
        Setup(model, provider, threads)
        for model in exported
        for provider in (providers if model.contract.format == "onnx" else ("cpu",))
    ]


@contextlib.contextmanager
def _closing(lanes: Sequence[_Lane]) -> Iterator[None]:
    try:
        yield
    finally:
        for lane in lanes:
            _close(lane)


def _close(lane: _Lane) -> None:
    if lane.runner is not None:
        lane.runner.close()
        lane.runner = None


def _measure(lanes: Sequence[_Lane], section: BenchmarkSection) -> Iterator[None]:
    """Opens and warms every lane, then times them in turns; yields after each turn of all."""
    for lane in lanes:
        with _failing(lane):
            _open(lane)
    for lane in lanes:
        with _failing(lane):
            _warm(lane, section.warmup_seconds)
    yield
    for runs in rounds_of(section.runs, ROUNDS):
        for lane in lanes:
            with _failing(lane):
                _turn(lane, runs)
        yield
    for lane in lanes:
        with _failing(lane):
            if lane.runner is not None:
                lane.peak_mib = lane.runner.peak_mib()


@contextlib.contextmanager
def _failing(lane: _Lane) -> Iterator[None]:
    """A file that cannot be run loses its numbers, not the other files theirs."""
    try:
        yield
    except ModelError as error:
        lane.failure = error.what
        _close(lane)


def _open(lane: _Lane) -> None:
    setup = lane.setup
    lane.runner = IsolatedRunner.open(
        setup.model.path, threads=setup.threads, provider=setup.provider
    )
    lane.load_ms = lane.runner.load_ms


def _warm(lane: _Lane, seconds: float) -> None:
    if lane.runner is None:
        return
    end = time.monotonic() + seconds
    lane.runner.prepare(_pixels(lane.setup.model.contract.preprocessing.size))
    lane.first_ms = lane.runner.first_ms
    for _ in range(WARMUP_RUNS):
        lane.fastest_s = min(lane.fastest_s, float(lane.runner.time(1)[0]) / 1e9)
    while time.monotonic() < end:
        lane.runner.time(1)


def _pixels(size: int) -> NDArray[np.uint8]:
    # The kernels take the same time whatever the image shows, so noise stands for photos.
    return np.random.default_rng(_SEED).integers(0, 256, (BATCH, size, size, 3), np.uint8)


def _turn(lane: _Lane, runs: int) -> None:
    if lane.runner is None:
        return
    lane.runner.time(_RETURN_RUNS)
    most = max(1, int(_REQUEST_SECONDS / lane.fastest_s))
    for count in rounds_of(runs, math.ceil(runs / most)):
        lane.timings.append(lane.runner.time(count))


def _row(lane: _Lane, accuracies: Mapping[str, float]) -> Measurement:
    setup, contract = lane.setup, lane.setup.model.contract
    timings = np.concatenate(lane.timings) if lane.timings and not lane.failure else None
    latency = None if timings is None else summarise(timings)
    return Measurement(
        file=setup.model.path.name,
        format=contract.format,
        precision=contract.precision,
        runtime="onnxruntime" if contract.format == "onnx" else "litert",
        provider=setup.provider,
        threads=setup.threads,
        batch=BATCH,
        runs=0 if timings is None else int(timings.size),
        load_ms=lane.load_ms,
        first_ms=lane.first_ms,
        p50_ms=latency.p50_ms if latency else 0.0,
        p90_ms=latency.p90_ms if latency else 0.0,
        p99_ms=latency.p99_ms if latency else 0.0,
        throughput=throughput(latency.mean_ms, BATCH) if latency else 0.0,
        peak_mib=lane.peak_mib,
        bytes=setup.model.path.stat().st_size,
        accuracy=accuracies.get(setup.model.path.name),
        failure=lane.failure,
    )
