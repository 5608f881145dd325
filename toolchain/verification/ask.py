"""Asks every exported file about the same photos, each in a child process of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from toolchain.contract import ExportedModel
from toolchain.errors import InputError, ModelError
from toolchain.files import sha256_file
from toolchain.images.stored import Pixels
from toolchain.runtimes import IsolatedRunner
from toolchain.terminal import track
from toolchain.verification.metrics import Probabilities

_IMAGES_A_STEP: Final = 64
_MAX_THREADS: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What one file answered.

    Attributes:
      model: the file.
      runtime: "litert" or "onnxruntime".
      labels: the class names that the file itself carries.
      probabilities: float32 [n, classes].
    """

    model: ExportedModel
    runtime: str
    labels: tuple[str, ...]
    probabilities: Probabilities


def ask(exported: Sequence[ExportedModel], pixels: Pixels) -> tuple[Asked, ...]:
    """The probabilities that each file gives to each photo.

    Args:
      exported: the files, at least one.
      pixels: uint8 [n, size, size, 3] RGB with n at least 1; read in steps.

    Raises:
      InputError: no files or no photos.
      ModelError: a file is not the one that was exported, or cannot be run.
    """
    if not exported or len(pixels) == 0:
        raise InputError(
            f"expected files and images, received {len(exported)} files, {len(pixels)} images"
        )
    return tuple(_ask(model, pixels) for model in exported)


def _ask(model: ExportedModel, pixels: Pixels) -> Asked:
    if sha256_file(model.path) != model.sha256:
        raise ModelError(
            "the file was changed after it was exported", str(model.path), "export it again"
        )
    threads = min(_MAX_THREADS, os.cpu_count() or 1)
    steps = range(0, len(pixels), _IMAGES_A_STEP)
    with IsolatedRunner.open(model.path, threads=threads) as runner:
        parts = [
            runner.run(np.asarray(pixels[start : start + _IMAGES_A_STEP]))
            for start in track(steps, f"asking {model.path.name}")
        ]
        return Asked(model, runner.runtime, runner.contract.labels, np.concatenate(parts))
