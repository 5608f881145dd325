"""What is to be timed: one row for each file, provider and number of threads."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from toolchain.contract import ExportedModel
from toolchain.errors import InputError
from toolchain.images.preprocess import Frame
from toolchain.recipe.sections import BenchmarkSection
from toolchain.runtimes.isolate import WORKER

RUNTIMES: Final = {"tflite": "litert", "onnx": "onnxruntime"}
_BLOCK: Final = 2**20


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model and how it is to be run.

    Attributes:
      name: of its row.
      opens: what its child process is told to open.
      path: the file whose hash and size its row bears.
      sha256: of that file.
      format, precision: of its row.
      frame: what of a photo its input shows, and how large.
      runtime, provider, threads: as in `values.Measurement`.
      worker: module of the child process.
      stays: one process serves all rounds, because starting it takes long; its interval then
        knows nothing of how far two processes lie apart.
    """

    name: str
    opens: Path
    path: Path
    sha256: str
    format: str
    precision: str
    frame: Frame
    runtime: str
    provider: str
    threads: int
    worker: str = WORKER
    stays: bool = False


def candidates(exported: Sequence[ExportedModel], section: BenchmarkSection) -> list[Candidate]:
    """Every file on every thread count; LiteRT has the CPU only, onnxruntime every provider.

    Raises:
      InputError: a GPU provider is asked for and there is no .onnx file that it could run, or
        onnxruntime, whose provider it is, is not asked for.
    """
    has_onnx = any(model.contract.format == "onnx" for model in exported)
    if set(section.providers) - {"cpu"} and not (has_onnx and "onnxruntime" in section.runtimes):
        raise InputError(
            f"expected an .onnx file and onnxruntime for benchmark.providers "
            f"{', '.join(section.providers)}, found "
            + (f"benchmark.runtimes {', '.join(section.runtimes)}" if has_onnx else "no such file"),
            "benchmark.providers",
            'add "onnx" to export.formats and "onnxruntime" to benchmark.runtimes, '
            "or benchmark on cpu",
        )
    return [
        _candidate(model, provider, threads)
        for threads in section.threads
        for model in exported
        if RUNTIMES[model.contract.format] in section.runtimes
        for provider in (section.providers if model.contract.format == "onnx" else ("cpu",))
    ]


def _candidate(model: ExportedModel, provider: str, threads: int) -> Candidate:
    contract = model.contract
    return Candidate(
        name=model.path.name,
        opens=model.path,
        path=model.path,
        sha256=model.sha256,
        format=contract.format,
        precision=contract.precision,
        frame=contract.preprocessing.frame,
        runtime=RUNTIMES[contract.format],
        provider=provider,
        threads=threads,
    )


def deflated(path: Path) -> int:
    """Bytes of a file as an app's package carries it: deflate at zlib's usual level."""
    packer, size = zlib.compressobj(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            size += len(packer.compress(block))
    return size + len(packer.flush())
