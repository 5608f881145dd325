"""A network small enough to write down in numpy, for tests that need files without TensorFlow.

1x1 convolution to four channels, ReLU, mean over the image, dense to three classes, softmax. The
classes are "red", "green" and "blue": which colour an image is tinted with.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolchain.contract import CONTRACT_FILE, SCHEMA, Contract, TensorSpec
from toolchain.images.preprocess import Frame, Preprocessing, normalise

SIZE = 8
CLASSES = ("red", "green", "blue")
# Every client has to look at the middle.
FRAME = Frame(SIZE, 0.5)
PREPROCESSING = Preprocessing.of("symmetric", SIZE, FRAME.crop)


def _kernel() -> NDArray[np.float32]:
    """[4, 3]: each colour against the others, and brightness."""
    rows = [[1.0, -0.5, -0.5], [-0.45, 0.9, -0.55], [-0.5, -0.6, 1.1], [0.3, 0.3, 0.3]]
    return np.asarray(rows, np.float32)


def _dense() -> NDArray[np.float32]:
    """[4, 3]: channels to classes."""
    rows = [[4.0, -2.0, -2.0], [-2.0, 4.5, -2.0], [-2.0, -2.0, 3.8], [0.2, -0.1, 0.1]]
    return np.asarray(rows, np.float32)


@dataclass(frozen=True)
class Weights:
    kernel: NDArray[np.float32] = field(default_factory=_kernel)
    bias: NDArray[np.float32] = field(
        default_factory=lambda: np.asarray([0.05, 0.02, 0.03, 0.1], np.float32)
    )
    dense: NDArray[np.float32] = field(default_factory=_dense)
    dense_bias: NDArray[np.float32] = field(
        default_factory=lambda: np.asarray([0.02, -0.01, 0.03], np.float32)
    )


def images(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Noise tinted with one colour each: uint8 [count, 8, 8, 3], and the colours as labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, len(CLASSES), count)
    pixels = random.integers(60, 130, (count, SIZE, SIZE, 3))
    pixels[np.arange(count), :, :, labels] += 100
    return pixels.astype(np.uint8), labels.astype(np.int64)


def probabilities(pixels: NDArray[np.uint8], weights: Weights | None = None) -> NDArray[np.float32]:
    """What a float file of the network must answer, float32 [n, 3]."""
    w = weights or Weights()
    x = normalise(pixels, PREPROCESSING)
    maps = np.maximum(x @ w.kernel.T + w.bias, 0)
    logits = maps.mean(axis=(1, 2)) @ w.dense + w.dense_bias
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (exp / exp.sum(axis=1, keepdims=True)).astype(np.float32)


def contract(
    kind: str = "onnx",
    precision: str = "fp32",
    *,
    labels: tuple[str, ...] = CLASSES,
    source: TensorSpec | None = None,
    result: TensorSpec | None = None,
    preprocessing: Preprocessing = PREPROCESSING,
) -> Contract:
    batch = 1 if kind == "tflite" else -1
    return Contract(
        name="tiny",
        format=kind,
        precision=precision,
        labels=labels,
        preprocessing=preprocessing,
        input=source or TensorSpec("input", (batch, SIZE, SIZE, 3), "float32"),
        output=result or TensorSpec("output", (batch, len(CLASSES)), "float32"),
        lineage={"recipe": "0" * 64},
    )


def lay_beside(path: Path, sha256: str | None = None) -> None:
    """Write contract.json beside a file, with its hash or another."""
    entry = {
        "sha256": sha256 or hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "contract": contract(path.suffix[1:]).to_json(),
    }
    text = json.dumps({"schema": SCHEMA, "files": {path.name: entry}})
    path.with_name(CONTRACT_FILE).write_text(text)


def scale_of(low: float, high: float) -> tuple[float, int]:
    """Scale and uint8 zero point of an activation range."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    return scale, round(-low / scale)


def quantize_rows(values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 per row: (stored [r, c], scales [r])."""
    largest = np.abs(values).max(axis=1)
    scales = (np.where(largest > 0, largest, 1.0) / 127).astype(np.float32)
    return np.round(values / scales[:, None]).astype(np.int8), scales


# Ranges of the activations of `images`, wide enough for every seed.
RANGES = {"input": (-1.0, 1.0), "conv": (0.0, 1.7), "mean": (0.0, 1.7), "logits": (-5.0, 8.0)}
