"""A child process that opens a foreign file: a crash, a hang or a bomb there is an error here.

`serve` is the other side, `wire` the form of what goes between them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from numpy.typing import NDArray

from toolchain import errors
from toolchain.errors import MachineError, ModelError, ToolchainError
from toolchain.runtimes.wire import Message, WireError, receive, send

# Address space, not resident memory: Python with numpy and a runtime reserves about 1 GiB before
# it loads anything, and a file is mapped, unpacked and repacked.
_BASE_MIB: Final = 4096
_FILE_FACTOR: Final = 6
_CLASSES: Final = {
    error.__name__: error
    for error in (
        errors.InputError,
        errors.ImageError,
        errors.ModelError,
        errors.GateError,
        errors.MachineError,
    )
}


def memory_for(path: Path) -> int:
    """Most address space that a child is given to open a file, MiB."""
    return _BASE_MIB + _FILE_FACTOR * (path.stat().st_size // 2**20)


class Child:
    """A process that answers requests about one file.

    Attributes:
      doing: what is done with the file now, as it is told when the child dies: "loaded".
    """

    def __init__(
        self, worker: str, path: Path, *, memory_mib: int, timeout_s: float, doing: str
    ) -> None:
        """Start it.

        Args:
          worker: the module that it runs, which calls `serve.serve`.
          path: the file that it is for.
          memory_mib: most address space that it gets, MiB; 0 is no limit.
          timeout_s: most seconds that one request may take.
          doing: see the attributes.

        Raises:
          MachineError: no process can be started, or its memory not limited.
        """
        self.doing = doing
        self._path, self._timeout_s = path, timeout_s
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (close() closes it)
        self._process = _start(self._stderr, worker)
        try:
            self.ask("limit", memory_mib=memory_mib)
        except BaseException:
            self.close()
            raise

    def ask(self, ask: str, *arrays: NDArray[Any], **fields: Any) -> Message:
        """One request and its answer.

        Raises:
          ToolchainError: the one that the child met.
          ModelError: the child crashed, or gave no answer in time.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None or stdin.closed:
            raise RuntimeError("the child is closed")
        with self._deadline() as expired:
            try:
                send(stdin, {"ask": ask, **fields}, arrays)
                reply, results = receive(stdout)
            except (EOFError, OSError, WireError) as error:
                raise self._died(expired) from error
        if reply.get("error"):
            raise self._told(reply["error"])
        return reply, results

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def close(self) -> None:
        """End it; may be called twice."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                # A request that the dead child never read is still in the buffer.
                with contextlib.suppress(OSError):
                    stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _deadline(self) -> Iterator[threading.Event]:
        """Kills the child when the time is over: the blocked pipe then ends by itself."""
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            self._process.kill()

        timer = threading.Timer(self._timeout_s, expire)
        timer.daemon = True
        timer.start()
        try:
            yield expired
        finally:
            timer.cancel()

    def _died(self, expired: threading.Event) -> Exception:
        self._process.kill()
        status = self._process.wait()
        if expired.is_set():
            why = f"no answer within {self._timeout_s:g} s"
        elif status < 0:
            why = f"crashed: signal {-status} {_signal_name(-status)}"
        else:
            # Python itself ended with a traceback: our own bug, not the file's.
            return RuntimeError(f"the worker ended with {status}:\n{self._tail()}")
        return ModelError(
            f"{self._path.name} cannot be {self.doing} ({why})",
            str(self._path),
            "the file is damaged or not made for this runtime; export it again",
        )

    def _tail(self) -> str:
        self._stderr.seek(max(0, self._stderr.seek(0, os.SEEK_END) - 4000))
        return self._stderr.read().decode(errors="replace")

    def _told(self, told: dict[str, str]) -> ToolchainError:
        kind = _CLASSES.get(told["class"], ModelError)
        return kind(told["what"], told["where"] or str(self._path), told["remedy"])


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


def _start(stderr: IO[bytes], worker: str) -> subprocess.Popen[bytes]:
    """The child, importing from exactly where this process imports from.

    -P keeps its working folder out of the import path: a numpy.py lying beside the photos would
    otherwise be run.
    """
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    # The child multiplies no matrices in numpy, and its thread pool costs 20 ms and memory.
    environment["OPENBLAS_NUM_THREADS"] = "1"
    environment["TF_CPP_MIN_LOG_LEVEL"] = "3"
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", worker],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
        )
    except OSError as error:
        raise MachineError(f"no child process can be started: {error.strerror}") from error
