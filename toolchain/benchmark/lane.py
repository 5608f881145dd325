"""One candidate while it is measured: its child process and what came out so far."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toolchain.benchmark.candidate import Candidate
from toolchain.benchmark.energy import Counter
from toolchain.benchmark.plan import WARMUP_RUNS, Plan
from toolchain.errors import ModelError
from toolchain.runtimes.isolate import IsolatedRunner

# The other files' turns push this one's weights out of the caches; what a user feels is the
# steady state, so a turn begins with a few runs that do not count: three, or one of a slow file.
_RETURN_RUNS: Final = 3
_RETURN_SECONDS: Final = 0.02
# Fewer have no median worth the name, however late it is.
_LEAST_RUNS: Final = 3
# A child that does not answer for long is taken for hung, so one request stays far below that.
_REQUEST_SECONDS: Final = 5.0
_SEED: Final = 0


@dataclass(slots=True)
class Series:
    """The turns of one batch size: process -> round -> nanoseconds of each run, int64 [runs].

    `energy_mj` is parallel to the rounds: millijoules an image.
    """

    processes: list[list[NDArray[np.int64]]] = field(default_factory=list)
    energy_mj: list[list[float]] = field(default_factory=list)

    def begin(self) -> None:
        """A new process; what follows is its."""
        self.processes.append([])
        self.energy_mj.append([])


class Lane:
    """A candidate's row to be.

    Attributes:
      failures: batch -> why it has no numbers; 0 stands for all of them.
      series: batch -> turns; only batches that go through the graph at once.
      loads_ms: one entry a process; firsts_ms: one a process that began with the first batch.
    """

    def __init__(self, candidate: Candidate, counter: Counter | None) -> None:
        self.candidate = candidate
        self.failures: dict[int, str] = {}
        self.series: dict[int, Series] = {}
        self.loads_ms: list[float] = []
        self.firsts_ms: list[float] = []
        self.peak_mib = 0.0
        self.nodes: dict[str, int] = {}
        self._counter = counter
        self._runner: IsolatedRunner | None = None
        self._typical_s = math.inf
        self._ready = 0
        self._first_batch = 0

    @contextlib.contextmanager
    def failing(self, batch: int = 0) -> Iterator[None]:
        """A file that cannot be run loses its numbers, not the other files theirs.

        One that cannot be run with many images at once keeps its numbers with one.
        """
        try:
            yield
        except ModelError as error:
            self.failures[batch if batch > 1 else 0] = error.what
            self.close()

    def open(self) -> None:
        """Start a fresh child; one that stays is started once.

        Raises:
          MachineError: the provider that was asked for did not load.
        """
        if self._runner is not None or 0 in self.failures:
            return
        one = self.candidate
        with self.failing():
            self._runner = IsolatedRunner.open(
                one.opens, threads=one.threads, provider=one.provider, worker=one.worker
            )
            self.loads_ms.append(self._runner.load_ms)
            self.nodes = self._runner.nodes

    def prepare(self, batch: int, warmup_s: float) -> None:
        """Make a batch the input, and run it untimed for a while."""
        self._ready = 0
        if self._runner is None or batch in self.failures:
            return
        with self.failing(batch):
            end = time.monotonic() + warmup_s
            if not self._runner.prepare(_pixels(batch, self.candidate.frame.size)):
                return
            self._first_batch = self._first_batch or batch
            if batch == self._first_batch and len(self.firsts_ms) < len(self.loads_ms):
                self.firsts_ms.append(self._runner.first_ms)
            self._ready = batch
            series = self.series.setdefault(batch, Series())
            if not series.processes or not self.candidate.stays:
                series.begin()
            self._warm(WARMUP_RUNS if batch == 1 else 1, end)

    def _warm(self, runs: int, end: float) -> None:
        if self._runner is None:
            return
        timings = [float(self._runner.time(1)[0]) for _ in range(runs)]
        self._typical_s = min(timings) / 1e9
        while (left := end - time.monotonic()) > 0:
            asked = max(1, int(min(left, _REQUEST_SECONDS) / self._typical_s / 2))
            # The first runs are slow: what is typical shows once it is warm.
            self._typical_s = float(np.median(self._runner.time(asked))) / 1e9

    def turn(self, plan: Plan, most_s: float) -> None:
        """Time a round of the prepared batch: as the plan says, but about `most_s` at most."""
        if self._runner is None or not self._ready:
            return
        with self.failing(self._ready):
            before = self._counter.spent_mj() if self._counter else 0.0
            back = max(1, min(_RETURN_RUNS, int(_RETURN_SECONDS / self._typical_s)))
            self._runner.time(back)
            timings = self._timed(self._runner, plan, most_s)
            series = self.series[self._ready]
            series.processes[-1].append(timings)
            if self._counter:
                spent = self._counter.spent_mj() - before
                series.energy_mj[-1].append(spent / (self._ready * (back + timings.size)))

    def _timed(self, runner: IsolatedRunner, plan: Plan, most_s: float) -> NDArray[np.int64]:
        """Runs of a round, asked for until the plan's time and runs are reached.

        How long they take is known only afterwards: the clock can rise or fall within a turn.
        """
        asked: list[NDArray[np.int64]] = []
        runs, spent_s = 0, 0.0
        while True:
            left_s = plan.turn_s - spent_s
            wanted = max(plan.turn_runs - runs, math.ceil(left_s / self._typical_s))
            late = max(_LEAST_RUNS - runs, int((most_s - spent_s) / self._typical_s))
            more = min(wanted, late, max(1, int(_REQUEST_SECONDS / self._typical_s)))
            if more <= 0:
                return np.concatenate(asked)
            asked.append(runner.time(more))
            runs += more
            spent_s += float(asked[-1].sum()) / 1e9
            self._typical_s = float(np.median(asked[-1])) / 1e9

    def note_memory(self) -> None:
        """Read the child's peak; asked before larger batches are run in it."""
        if self._runner is not None:
            with self.failing():
                self.peak_mib = max(self.peak_mib, self._runner.peak_mib())

    def rest(self) -> None:
        """The end of a process, unless this one stays."""
        if not self.candidate.stays:
            self.close()

    def close(self) -> None:
        """End the child; may be called twice."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None


def _pixels(batch: int, size: int) -> NDArray[np.uint8]:
    # The kernels take the same time whatever the image shows, so noise stands for photos.
    return np.random.default_rng(_SEED).integers(0, 256, (batch, size, size, 3), np.uint8)
