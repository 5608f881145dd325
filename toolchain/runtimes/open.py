"""Opens a file in this process with the runtime that its suffix asks for."""

from __future__ import annotations

from pathlib import Path

from toolchain.errors import MachineError
from toolchain.runtimes.base import Runner
from toolchain.runtimes.carried import check_file


def open_runner(path: Path, *, threads: int = 1, provider: str = "cpu") -> Runner:
    """A runner for a .tflite or .onnx file that this toolchain or its user made.

    A file from elsewhere can crash the process that opens it: use `isolate.IsolatedRunner`.

    Args:
      path: the file; its contract is read from inside it or from contract.json beside it.
      threads: of one inference, at least 1.
      provider: "cpu", "cuda" or "tensorrt".

    Raises:
      ModelError: another suffix, a damaged file, no contract, or one that does not fit the file.
      MachineError: the provider is not there; nothing runs on the CPU instead.
    """
    if check_file(path) == "onnx":
        from toolchain.runtimes.onnxruntime import OnnxRunner

        return OnnxRunner(path, threads=threads, provider=provider)
    if provider != "cpu":
        raise MachineError(
            f"LiteRT runs .tflite files on the cpu here, received provider {provider!r:.40}",
            str(path),
            "give an .onnx file, or provider cpu",
        )
    from toolchain.runtimes.litert import LiteRTRunner

    return LiteRTRunner(path, threads=threads)
