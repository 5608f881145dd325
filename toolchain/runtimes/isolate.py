"""Opens a foreign file in a child process: a crash, a hang or a bomb there is an error here.

    with IsolatedRunner.open(path, threads=1) as runner:
        probabilities = runner.run(pixels)          # uint8 [n, size, size, 3] -> float32 [n, c]

    with IsolatedRunner.open(path) as runner:       # timing, as benchmark does it
        runner.prepare(pixels[:1])                  # normalised once, first inference done
        nanoseconds = runner.time(50)               # int64 [50], measured inside the child

Several runners may be open at once and asked in turn, round by round: a child that is not asked
waits for its next request and uses no processor.
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

import numpy as np
from numpy.typing import NDArray

from toolchain import errors
from toolchain.contract import parse_contract
from toolchain.errors import MachineError, ModelError, ToolchainError
from toolchain.runtimes.base import to_probabilities
from toolchain.runtimes.carried import check_file
from toolchain.runtimes.wire import Message, WireError, receive, send

TIMEOUT_S: Final = 120.0
WORKER: Final = "toolchain.runtimes.worker"
# Address space, not resident memory: Python with numpy and a runtime reserves about 1 GiB before
# it loads anything, and a file is mapped, unpacked and repacked.
_BASE_MIB: Final = 4096
_FILE_FACTOR: Final = 6
_IMAGES_A_REQUEST: Final = 16
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


class IsolatedRunner:
    """A file opened in its own child process; satisfies `base.Runner`.

    Attributes:
      contract: what the file promises.
      runtime, provider, nodes: as in `base.Runner`.
      load_ms: how long the runtime took to open the file, milliseconds.
      first_ms: how long the first inference took, milliseconds; nan before there was one.
    """

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        threads: int = 1,
        provider: str = "cpu",
        memory_mib: int | None = None,
        timeout_s: float = TIMEOUT_S,
        worker: str = WORKER,
    ) -> Self:
        """Start a child and open `path` in it.

        Args:
          path: a .tflite or .onnx file.
          threads: of one inference.
          provider: "cpu", "cuda" or "tensorrt".
          memory_mib: most address space of the child, MiB; None is 4 GiB and six times the file,
            without a limit for a GPU, whose driver reserves more than the machine has. 0 is none.
          timeout_s: most seconds that one request may take.
          worker: the module that the child runs; another one opens other things than model files.

        Raises:
          ModelError: the file is damaged, crashes or hangs its runtime, or brings no contract.
          MachineError: the provider is not there, or no process can be started.
        """
        foreign = worker == WORKER
        if foreign:
            check_file(path)
        if memory_mib is None:
            memory_mib = _memory_for(path) if foreign and provider == "cpu" else 0
        return cls(path, threads, provider, memory_mib, timeout_s, worker)

    def __init__(
        self,
        path: Path,
        threads: int,
        provider: str,
        memory_mib: int,
        timeout_s: float,
        worker: str,
    ) -> None:
        self._path, self._timeout_s = path, timeout_s
        self._doing = "loaded"
        self.first_ms = float("nan")
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (close() closes it)
        self._process = _start(self._stderr, worker)
        try:
            reply, _ = self._ask(
                "open",
                path=os.fspath(path.absolute()),
                threads=threads,
                provider=provider,
                memory_mib=memory_mib,
            )
            self.contract = parse_contract(reply["contract"], str(path))
            self.runtime, self.provider = str(reply["runtime"]), str(reply["provider"])
            self.load_ms = float(reply["load_ms"])
            self.nodes = {str(name): int(count) for name, count in reply["nodes"].items()}
        except BaseException:
            self.close()
            raise
        self._doing = "run"

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Classify: uint8 [n, size, size, 3] RGB -> probabilities, float32 [n, classes].

        Raises:
          InputError: the pixels have another dtype or shape.
          ModelError: the file crashes, hangs, or answers with something else than probabilities.
        """
        parts = [np.empty((0, len(self.contract.labels)), np.float32)]
        for start in range(0, len(pixels), _IMAGES_A_REQUEST):
            part = np.asarray(pixels[start : start + _IMAGES_A_REQUEST])
            _, results = self._ask("run", part)
            parts.append(self._probabilities(results, len(part)))
        return np.concatenate(parts)

    def run_tensor(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """One inference of an input made by `base.to_input`; the output as the file stores it."""
        _, results = self._ask("run_tensor", tensor)
        return results[0]

    def prepare(self, pixels: NDArray[np.uint8]) -> bool:
        """Send uint8 [batch, size, size, 3] once, make it the input of `time`, and infer once.

        Returns:
          Whether the batch goes through the graph at once, not one image after the other.
        """
        reply, _ = self._ask("prepare", np.asarray(pixels))
        return bool(reply["taken"])

    def time(self, runs: int) -> NDArray[np.int64]:
        """Infer the prepared input `runs` times: nanoseconds of each, int64 [runs].

        The clock runs in the child, around the inference alone. `timeout_s` holds for all of them.
        """
        _, results = self._ask("time", runs=runs)
        return results[0].astype(np.int64)

    def peak_mib(self) -> float:
        """Highest resident memory of the child so far, MiB."""
        reply, _ = self._ask("peak")
        return float(reply["peak_mib"])

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def close(self) -> None:
        """End the child; may be called twice."""
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

    def _probabilities(self, results: list[NDArray[Any]], count: int) -> NDArray[np.float32]:
        # The child applied the contract already; what it sends is checked like any foreign data.
        if len(results) != 1 or results[0].dtype != np.float32 or len(results[0]) != count:
            raise ModelError(
                f"expected the probabilities of {count} images, received something else",
                str(self._path),
            )
        plain = np.asarray(results[0], dtype=np.float32)
        if plain.shape[1:] != (len(self.contract.labels),):
            return to_probabilities(plain, self.contract, str(self._path))
        return plain

    def _ask(self, ask: str, *arrays: NDArray[Any], **fields: Any) -> Message:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None or stdin.closed:
            raise RuntimeError("the runner is closed")
        with self._deadline() as expired:
            try:
                send(stdin, {"ask": ask, **fields}, arrays)
                reply, results = receive(stdout)
            except (EOFError, OSError, WireError) as error:
                raise self._died(expired) from error
        if reply.get("error"):
            raise self._told(reply["error"])
        if reply.get("first_ms") is not None:
            self.first_ms = float(reply["first_ms"])
        return reply, results

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
            f"{self._path.name} cannot be {self._doing} ({why})",
            str(self._path),
            "the file is damaged or not made for this runtime; export it again",
        )

    def _tail(self) -> str:
        self._stderr.seek(max(0, self._stderr.seek(0, os.SEEK_END) - 4000))
        return self._stderr.read().decode(errors="replace")

    def _told(self, told: dict[str, str]) -> ToolchainError:
        kind = _CLASSES.get(told["class"], ModelError)
        return kind(told["what"], told["where"] or str(self._path), told["remedy"])


def _memory_for(path: Path) -> int:
    return _BASE_MIB + _FILE_FACTOR * (path.stat().st_size // 2**20)


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
