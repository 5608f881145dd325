"""The child process that opens and runs one foreign file: `python -m toolchain.runtimes.worker`.

`serve_runner` is the same for what another room opens in a child of its own. `isolate` is the
other side.
"""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from toolchain.runtimes.base import Runner, to_input
from toolchain.runtimes.open import open_runner
from toolchain.runtimes.serve import serve
from toolchain.runtimes.wire import Message

MAX_RUNS: Final = 1_000_000


class Worker:
    """One opened file and the requests that it answers."""

    def __init__(self, open_file: Callable[..., Runner]) -> None:
        self._open_file = open_file
        self._runner: Runner | None = None
        self._tensor: NDArray[Any] | None = None
        self._first_ms: float | None = None
        requests: dict[str, Callable[..., Message]] = {
            "open": self._open,
            "run": self._run,
            "run_tensor": self._run_tensor,
            "prepare": self._prepare,
            "time": self._time,
            "peak": self._peak,
        }
        self.answers: Final = {name: self._timed(answer) for name, answer in requests.items()}

    def _timed(self, answer: Callable[..., Message]) -> Callable[..., Message]:
        """The same answer with how long the first inference took."""

        def timed(*arrays: NDArray[Any], **fields: Any) -> Message:
            reply, results = answer(*arrays, **fields)
            return {**reply, "first_ms": self._first_ms}, results

        return timed

    def _open(self, path: str, threads: int, provider: str) -> Message:
        self._runner = self._open_file(Path(path), threads=threads, provider=provider)
        return {
            "contract": self._runner.contract.dumps(),
            "runtime": self._runner.runtime,
            "provider": self._runner.provider,
            "load_ms": self._runner.load_ms,
            "nodes": self._runner.nodes,
        }, []

    def _run(self, pixels: NDArray[np.uint8]) -> Message:
        return {}, [self._first(lambda: self._opened().run(pixels))]

    def _run_tensor(self, tensor: NDArray[Any]) -> Message:
        return {}, [self._first(lambda: self._opened().run_tensor(tensor))]

    def _prepare(self, pixels: NDArray[np.uint8]) -> Message:
        runner = self._opened()
        tensor = to_input(pixels, runner.contract)
        self._tensor = tensor
        taken = runner.takes(len(tensor))
        self._first(lambda: runner.run_tensor(tensor))
        return {"taken": taken}, []

    def _time(self, runs: int) -> Message:
        runner, tensor, clock = self._opened(), self._tensor, time.perf_counter_ns
        if tensor is None:
            raise RuntimeError("time was asked for before prepare")
        times = np.empty(min(runs, MAX_RUNS), np.int64)
        for position in range(len(times)):
            started = clock()
            runner.run_tensor(tensor)
            times[position] = clock() - started
        return {}, [times]

    def _peak(self) -> Message:
        return {"peak_mib": peak_mib()}, []

    def _opened(self) -> Runner:
        if self._runner is None:
            raise RuntimeError("a file must be opened first")
        return self._runner

    def _first(self, infer: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        if self._first_ms is not None:
            return infer()
        started = time.perf_counter_ns()
        result = infer()
        self._first_ms = (time.perf_counter_ns() - started) / 1e6
        return result


def peak_mib() -> float:
    """Highest resident memory of this process, MiB.

    VmHWM of Linux, because getrusage's ru_maxrss keeps the parent's peak across fork and exec
    (https://man7.org/linux/man-pages/man2/getrusage.2.html); that one where there is no /proc.
    """
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    # macOS counts bytes, Linux KiB.
    unit = 2**20 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def serve_runner(open_file: Callable[..., Runner]) -> None:
    """Answer requests until the parent closes the pipe; `open_file` is called as `open_runner`."""
    serve(Worker(open_file).answers)


if __name__ == "__main__":
    serve_runner(open_runner)
