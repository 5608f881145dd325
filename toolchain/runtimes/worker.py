"""The child process that opens and runs one foreign file: `python -m toolchain.runtimes.worker`.

`serve` is the same for what another room opens in a child of its own.

It reads requests from stdin and answers on what was stdout (see `wire`). Native libraries print
to file descriptors 1 and 2; both are pointed at stderr before any of them is loaded, so nothing
but our messages reaches the pipe. `isolate` is the other side.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import MachineError, ModelError, ToolchainError
from toolchain.runtimes.base import Runner, to_input
from toolchain.runtimes.open import open_runner
from toolchain.runtimes.wire import Message, receive, send

MAX_RUNS: Final = 1_000_000


class Worker:
    """One opened file and the requests that it answers."""

    def __init__(self, open_file: Callable[..., Runner]) -> None:
        self._open_file = open_file
        self._runner: Runner | None = None
        self._tensor: NDArray[Any] | None = None
        self._first_ms: float | None = None
        self._memory_mib = 0
        self._answers: Final[dict[str, Callable[..., Message]]] = {
            "open": self._open,
            "run": self._run,
            "run_tensor": self._run_tensor,
            "prepare": self._prepare,
            "time": self._time,
            "peak": self._peak,
        }

    def answer(self, header: dict[str, Any], arrays: list[NDArray[Any]]) -> Message:
        """The reply to one request; an expected error is a reply too."""
        try:
            reply, results = self._answers[header.pop("ask")](*arrays, **header)
        except ToolchainError as error:
            told = {"what": error.what, "where": error.where, "remedy": error.remedy}
            return {"error": {"class": type(error).__name__, **told}}, []
        except MemoryError:
            told = {
                "what": f"the file needs more than the {self._memory_mib:,} MiB it is given",
                "where": "",
                "remedy": "the file is damaged or too large for this machine",
            }
            return {"error": {"class": ModelError.__name__, **told}}, []
        return {**reply, "first_ms": self._first_ms}, results

    def _open(self, path: str, threads: int, provider: str, memory_mib: int) -> Message:
        self._memory_mib = memory_mib
        # A crash of foreign code must not fill the disk with a core dump.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if memory_mib:
            _limit_memory(memory_mib * 2**20)
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


def _limit_memory(limit: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    except (OSError, ValueError) as error:
        raise MachineError(f"the memory of the child cannot be limited: {error}") from error


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


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return requests, replies


def serve(open_file: Callable[..., Runner]) -> None:
    """Answer requests until the parent closes the pipe; `open_file` is called as `open_runner`."""
    # Ctrl-C reaches the whole group of processes; the parent ends this one in good order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, replies = _private_pipes()
    worker = Worker(open_file)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            send(replies, *worker.answer(*receive(requests)))


if __name__ == "__main__":
    serve(open_runner)
