"""Times every candidate in child processes of its own, in turns, and makes the rows.

All candidates of one thread count are open at the same time and are timed in turns, in an order
drawn anew each round, so that whatever else the machine does, and its clock, hit all of them
alike. Only one runs at any moment; the others wait for their turn and use no processor. Every few
rounds all processes are started afresh (see `statistics` for why).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np

from toolchain import terminal
from toolchain.benchmark import machine, preparation, statistics
from toolchain.benchmark.candidate import Candidate
from toolchain.benchmark.energy import find_counter
from toolchain.benchmark.lane import Lane
from toolchain.benchmark.noise import Watch
from toolchain.benchmark.plan import plan_of
from toolchain.benchmark.preparation import Photos
from toolchain.benchmark.rows import comparisons, rows_of
from toolchain.errors import InputError
from toolchain.measurement import Benchmark, Noise
from toolchain.recipe.sections import BenchmarkSection
from toolchain.values import FileVerification

# Of a process' time, when larger batches are timed too.
_SINGLE_SHARE: Final = 0.85
# However late it is, two: one alone has no interval. A width is judged by three at least.
_FEWEST_PROCESSES: Final = 2
_LEAST_PROCESSES: Final = 3
_SEED: Final = 0


def benchmark(
    candidates: Sequence[Candidate],
    section: BenchmarkSection,
    verified: Mapping[str, FileVerification],
    photos: Photos,
    *,
    command: str,
    data_sha256: str = "",
) -> Benchmark:
    """Latency, throughput, memory and size; a file that crashes gives a row that says so.

    Args:
      candidates: what to time.
      section: batches, and how long.
      verified: sha256 of a file -> how good it is; files may be missing.
      photos: what decoding and resizing are timed on.
      command: what re-makes these numbers.
      data_sha256: of the dataset that was verified on.

    Raises:
      InputError: there is nothing to time.
      ImageError: a photo cannot be decoded; nothing was timed.
      MachineError: a provider that was asked for did not load. Nothing falls back to the CPU.
    """
    if not candidates:
        raise InputError(
            f"expected files that benchmark.runtimes {', '.join(section.runtimes)} can run, "
            "received none",
            "benchmark.runtimes",
            "add litert for .tflite files, onnxruntime for .onnx files",
        )
    counters = {one.provider: find_counter(one.provider) for one in candidates}
    facts, date = machine.describe(), datetime.now(UTC).isoformat(timespec="seconds")
    lanes = [Lane(one, counters[one.provider]) for one in candidates]
    frames = dict.fromkeys(one.frame for one in candidates)
    # First, so that a photo that cannot be decoded costs no one two minutes.
    prepared = tuple(preparation.measure(photos, frame) for frame in frames)
    noise = _Session(lanes, section).run()
    timed = [one for lane in lanes for one in rows_of(lane, section.batches, verified)]
    return Benchmark(
        machine=facts,
        date=date,
        command=command,
        measurements=tuple(row for row, _ in timed),
        comparisons=tuple(comparisons(timed)),
        noise=noise,
        preparation=prepared,
        energy="; ".join(sorted({one.name for one in counters.values() if one})),
        data_sha256=data_sha256,
    )


class _Session:
    """The turns of all lanes, one thread count after the other."""

    def __init__(self, lanes: Sequence[Lane], section: BenchmarkSection) -> None:
        self._lanes, self._section = lanes, section
        self._plan = plan_of(section)
        self._watch = Watch()
        self._generator = np.random.default_rng(_SEED)

    def run(self) -> Noise:
        """Fill the lanes; returns what else went on."""
        steps = len(self._section.threads) * self._section.processes * len(self._section.batches)
        for _ in terminal.track(self._steps(), "benchmark", total=steps):
            pass
        return self._watch.noise()

    def _steps(self) -> Iterator[None]:
        """One item a step, for the progress bar."""
        for threads in self._section.threads:
            group = [lane for lane in self._lanes if lane.candidate.threads == threads]
            try:
                yield from self._group(group)
            finally:
                for lane in group:
                    lane.close()

    def _group(self, lanes: Sequence[Lane]) -> Iterator[None]:
        plan, batches = self._plan, self._section.batches
        end = time.monotonic() + plan.limit_s * len(lanes)
        for process in itertools.count(1):
            left = max(1, plan.processes - process + 1)
            until = time.monotonic() + max(0.0, end - time.monotonic()) / left
            for batch in batches:
                if batch > 1 and process > 1 and time.monotonic() > until:
                    continue
                share = _SINGLE_SHARE if batch == 1 and len(batches) > 1 else 1.0
                self._rounds(lanes, batch, process == 1, until, share)
                yield
            for lane in lanes:
                lane.rest()
            over = time.monotonic() >= end
            done = process >= plan.processes and self._narrow(lanes)
            if done or (over and process >= _FEWEST_PROCESSES):
                return

    def _rounds(
        self, lanes: Sequence[Lane], batch: int, first: bool, until: float, share: float
    ) -> None:
        """Warm every lane up with the batch, then time them in turns."""
        plan = self._plan.of_batch(batch)
        for lane in lanes:
            # Closed before the first batch of a process, and after a batch that failed.
            lane.open()
        for lane in lanes:
            lane.prepare(batch, plan.warmup_s if first else plan.again_s)
        left = share * max(0.0, until - time.monotonic())
        for _ in range(plan.rounds):
            self._watch.tick()
            for place in self._generator.permutation(len(lanes)):
                lanes[place].turn(plan, left / (plan.rounds * len(lanes)))
        if batch == 1:
            for lane in lanes:
                lane.note_memory()

    def _narrow(self, lanes: Sequence[Lane]) -> bool:
        """Whether every lane's median is known as exactly as was asked for."""
        width, batch = self._plan.width, self._section.batches[0]
        if not width:
            return True
        fresh = [lane for lane in lanes if not lane.candidate.stays and batch in lane.series]
        timed = [lane.series[batch].processes for lane in fresh]
        if any(len(one) < _LEAST_PROCESSES for one in timed):
            return False
        found = [statistics.summarise(one, batch).p50_ms for one in timed]
        return all((one.high - one.low) / 2 <= width * one.value for one in found)
