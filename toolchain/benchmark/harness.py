"""Times every exported file on its runtime, each in a child process of its own.

All files of one thread count are open at the same time and are timed in turns, so that whatever
else the machine does, and its clock, hit all of them alike. Only one runs at any moment; the
others wait for their turn and use no processor.
"""

from __future__ import annotations

import contextlib
import math
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toolchain import terminal
from toolchain.benchmark import machine
from toolchain.benchmark.statistics import rounds_of, summarise
from toolchain.contract import ExportedModel
from toolchain.errors import InputError, ModelError
from toolchain.recipe.sections import BenchmarkSection
from toolchain.runtimes.isolate import IsolatedRunner
from toolchain.values import Benchmark, FileVerification, Measurement, Verification

BATCH: Final = 1
ROUNDS: Final = 10
WARMUP_RUNS: Final = 10
# The other files' turns push this one's weights out of the caches; what a user feels is the
# steady state, so a turn begins with a few runs that do not count.
_RETURN_RUNS: Final = 3
# A child that does not answer for long is taken for hung, so one request stays far below that.
_REQUEST_SECONDS: Final = 5.0
_SEED: Final = 0
_BLOCK: Final = 2**20


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
    verification: Verification | None,
    command: str,
) -> Benchmark:
    """Latency, throughput and memory of every file; a file that crashes gives a row that says so.

    Args:
      exported: the files; .tflite runs on litert, .onnx on onnxruntime once a provider.
      section: providers, thread counts, runs and warm-up.
      verification: how good the files are; None when nobody looked.
      command: what re-makes these numbers.

    Raises:
      MachineError: a provider that was asked for is not there. Nothing falls back to the CPU.
      InputError: a GPU provider was asked for and there is no .onnx file that it could run.
    """
    _require_onnx(exported, section.providers)
    facts = machine.describe()
    date = datetime.now(UTC).isoformat(timespec="seconds")
    verified = {file.file: file for file in verification.files} if verification else {}
    steps = _steps(exported, section, verified)
    turns = len(section.threads) * (2 + len(rounds_of(section.runs, ROUNDS)))
    rows: list[Measurement] = []
    for finished in terminal.track(steps, "benchmark", total=turns):
        rows += finished
    return Benchmark(machine=facts, date=date, command=command, measurements=tuple(rows))


def _steps(
    exported: Sequence[ExportedModel],
    section: BenchmarkSection,
    verified: Mapping[str, FileVerification],
) -> Iterator[list[Measurement]]:
    """One item a turn, for the progress bar; the last of a thread count holds its rows."""
    for threads in section.threads:
        lanes = [_Lane(setup) for setup in setups(exported, section.providers, threads)]
        with _closing(lanes):
            for _ in _measure(lanes, section):
                yield []
        yield [_row(lane, verified) for lane in lanes]


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
    asked = [lane.runner.time(count) for count in rounds_of(runs, math.ceil(runs / most))]
    lane.timings.append(np.concatenate(asked))


def _row(lane: _Lane, verified: Mapping[str, FileVerification]) -> Measurement:
    model = lane.setup.model
    quality = verified.get(model.path.name)
    measured = bool(lane.timings) and not lane.failure
    return Measurement(
        file=model.path.name,
        sha256=model.sha256,
        format=model.contract.format,
        precision=model.contract.precision,
        runtime="onnxruntime" if model.contract.format == "onnx" else "litert",
        provider=lane.setup.provider,
        threads=lane.setup.threads,
        batch=BATCH,
        bytes=model.path.stat().st_size,
        zipped_bytes=deflated(model.path),
        latency=summarise(lane.timings, BATCH) if measured else None,
        load_ms=lane.load_ms if measured else None,
        first_ms=lane.first_ms if measured else None,
        peak_mib=lane.peak_mib if measured else None,
        top1=quality.accuracy if quality else None,
        top5=quality.top5 if quality else None,
        f1=quality.f1 if quality else None,
        failure=lane.failure,
    )


def deflated(path: Path) -> int:
    """Bytes of a file as an app's package carries it: deflate at zlib's usual level."""
    packer, size = zlib.compressobj(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            size += len(packer.compress(block))
    return size + len(packer.flush())
