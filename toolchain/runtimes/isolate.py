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

import os
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from toolchain.contract import parse_contract
from toolchain.errors import ModelError
from toolchain.runtimes.base import to_probabilities
from toolchain.runtimes.carried import check_file
from toolchain.runtimes.child import Child, memory_for
from toolchain.runtimes.wire import Message

TIMEOUT_S: Final = 120.0
WORKER: Final = "toolchain.runtimes.worker"
_IMAGES_A_REQUEST: Final = 16


class IsolatedRunner(Child):
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
            memory_mib = memory_for(path) if foreign and provider == "cpu" else 0
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
        self.first_ms = float("nan")
        super().__init__(worker, path, memory_mib=memory_mib, timeout_s=timeout_s, doing="loaded")
        try:
            where = os.fspath(path.absolute())
            reply, _ = self.ask("open", path=where, threads=threads, provider=provider)
            self.contract = parse_contract(reply["contract"], str(path))
            self.runtime, self.provider = str(reply["runtime"]), str(reply["provider"])
            self.load_ms = float(reply["load_ms"])
            self.nodes = {str(name): int(count) for name, count in reply["nodes"].items()}
        except BaseException:
            self.close()
            raise
        self.doing = "run"

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Classify: uint8 [n, size, size, 3] RGB -> probabilities, float32 [n, classes].

        Raises:
          InputError: the pixels have another dtype or shape.
          ModelError: the file crashes, hangs, or answers with something else than probabilities.
        """
        parts = [np.empty((0, len(self.contract.labels)), np.float32)]
        for start in range(0, len(pixels), _IMAGES_A_REQUEST):
            part = np.asarray(pixels[start : start + _IMAGES_A_REQUEST])
            _, results = self.ask("run", part)
            parts.append(self._probabilities(results, len(part)))
        return np.concatenate(parts)

    def run_tensor(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """One inference of an input made by `base.to_input`; the output as the file stores it."""
        _, results = self.ask("run_tensor", tensor)
        return results[0]

    def prepare(self, pixels: NDArray[np.uint8]) -> bool:
        """Send uint8 [batch, size, size, 3] once, make it the input of `time`, and infer once.

        Returns:
          Whether the batch goes through the graph at once, not one image after the other.
        """
        reply, _ = self.ask("prepare", np.asarray(pixels))
        return bool(reply["taken"])

    def time(self, runs: int) -> NDArray[np.int64]:
        """Infer the prepared input `runs` times: nanoseconds of each, int64 [runs].

        The clock runs in the child, around the inference alone. `timeout_s` holds for all of them.
        """
        _, results = self.ask("time", runs=runs)
        return results[0].astype(np.int64)

    def peak_mib(self) -> float:
        """Highest resident memory of the child so far, MiB."""
        reply, _ = self.ask("peak")
        return float(reply["peak_mib"])

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

    def ask(self, ask: str, *arrays: NDArray[Any], **fields: Any) -> Message:
        """See `Child.ask`; keeps what the reply says of the first inference."""
        reply, results = super().ask(ask, *arrays, **fields)
        if reply.get("first_ms") is not None:
            self.first_ms = float(reply["first_ms"])
        return reply, results
