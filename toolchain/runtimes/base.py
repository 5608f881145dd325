"""What a runner is, and the arithmetic that every runner shares: pixels in, probabilities out."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from toolchain.contract import Contract, TensorSpec
from toolchain.errors import InputError, ModelError
from toolchain.images.preprocess import normalise

# Scales travel as JSON numbers and lie in the file as float32; anything beyond that is a mismatch.
_SCALE_TOLERANCE = 1e-6


class Runner(Protocol):
    """An opened file that classifies images.

    Attributes:
      contract: what the file promises; its tensor specs were compared with the real tensors.
      runtime: "litert", "onnxruntime" or, for the model they came from, "keras".
      provider: what it was asked to run on and did load: "cpu", "cuda" or "tensorrt".
      load_ms: how long opening took, milliseconds, without importing the library.
      nodes: what runs them -> number of the graph's nodes; empty where the runtime does not tell.
    """

    @property
    def contract(self) -> Contract: ...  # noqa: D102
    @property
    def runtime(self) -> str: ...  # noqa: D102
    @property
    def provider(self) -> str: ...  # noqa: D102
    @property
    def load_ms(self) -> float: ...  # noqa: D102
    @property
    def nodes(self) -> dict[str, int]: ...  # noqa: D102

    def takes(self, batch: int) -> bool:
        """Whether so many images go through the graph at once, not one after the other."""

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Classify: uint8 [n, size, size, 3] RGB -> probabilities, float32 [n, classes]."""

    def run_tensor(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """One inference of an input made by `to_input`; the output as the file stores it."""

    def close(self) -> None:
        """Give the memory back; the runner cannot be used any more."""


def to_input(pixels: NDArray[np.uint8], contract: Contract) -> NDArray[Any]:
    """Pixels as the file takes them.

    Args:
      pixels: uint8 [n, size, size, 3], RGB, of the contract's size.
      contract: says float32, then the pixels are normalised, or uint8, then they pass as they are;
        and in which order the axes are, [n, size, size, 3] or [n, 3, size, size].

    Raises:
      InputError: the pixels have another dtype or shape.
    """
    size = contract.preprocessing.size
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (size, size, 3):
        raise InputError(
            f"expected pixels uint8 [n, {size}, {size}, 3], "
            f"received {pixels.dtype} {list(pixels.shape)}"
        )
    is_raw = contract.input.dtype == "uint8"
    values = pixels if is_raw else normalise(pixels, contract.preprocessing)
    if contract.layout == "NCHW":
        values = values.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(values)


def to_probabilities(raw: NDArray[Any], contract: Contract, where: str) -> NDArray[np.float32]:
    """The output of a file as float32 [n, classes].

    Stored integers are real = scale * (stored - zero_point); of logits the softmax is taken.

    Raises:
      ModelError: it is not [n, classes], or holds numbers that are not finite.
    """
    if raw.ndim != 2 or raw.shape[1] != len(contract.labels):
        raise ModelError(
            f"expected an output [n, {len(contract.labels)}], received {list(raw.shape)}",
            where,
            "export the model again; the file and its contract do not belong together",
        )
    spec = contract.output
    values = raw.astype(np.float32)
    if spec.dtype == "uint8" and spec.scale is not None and spec.zero_point is not None:
        values = (values - np.float32(spec.zero_point)) * np.float32(spec.scale)
    if not np.isfinite(values).all():
        raise ModelError(
            "expected probabilities, received numbers that are not finite",
            where,
            "the file is damaged, or its training diverged; export the model again",
        )
    return softmax(values) if contract.output_kind == "logits" else values


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of logits, float32 [n, classes]; finite for any finite logits."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def check_contract(contract: Contract, where: str) -> None:
    """Whether a contract fits itself: image size, tensors and labels.

    Raises:
      ModelError: they contradict each other.
    """
    size, classes = contract.preprocessing.size, len(contract.labels)
    source, result = contract.input, contract.output
    expected = (size, size, 3) if contract.layout == "NHWC" else (3, size, size)
    sound = source.shape[1:] == expected and result.shape[1:] == (classes,)
    known = {source.dtype, result.dtype} <= {"float32", "uint8"}
    axes = ", ".join(map(str, expected))
    if not sound or not known or contract.preprocessing.std == 0:
        raise ModelError(
            f"expected an input [n, {axes}] and an output [n, {classes}] of float32 or "
            f"uint8, the contract has {describe(source)} and {describe(result)}",
            where,
            "export the model again",
        )


def check_tensor(promised: TensorSpec, found: TensorSpec, where: str) -> None:
    """Compare a tensor of the contract with the one in the file; the batch axis may differ.

    Raises:
      ModelError: dtype, shape or quantization differ.
    """
    same_shape = promised.shape[1:] == found.shape[1:] and len(promised.shape) == len(found.shape)
    if promised.dtype != found.dtype or not same_shape or not _same_scale(promised, found):
        raise ModelError(
            f"the contract promises {describe(promised)}, the file has {describe(found)}",
            where,
            "export the model again; the file and its contract do not belong together",
        )


def _same_scale(promised: TensorSpec, found: TensorSpec) -> bool:
    if promised.scale is None or found.scale is None:
        return promised.scale == found.scale
    near = abs(promised.scale - found.scale) <= _SCALE_TOLERANCE * abs(found.scale)
    return near and promised.zero_point == found.zero_point


def describe(spec: TensorSpec) -> str:
    """A tensor as one short phrase, for messages."""
    text = f"{spec.dtype} {list(spec.shape)}"
    if spec.scale is not None:
        text += f" scale {spec.scale:.6g} zero point {spec.zero_point}"
    return text
