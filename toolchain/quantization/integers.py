"""The network as its int8 files compute it: whole numbers, and one rounding where they round.

The simulation that QAT trains computes with real values in float32. Its sums are a little off, so
that one value of 50,000 lands on the other side of a rounding step, and every layer multiplies
such differences: behind the 13 of VGG16 a quarter of CIFAR-10's logits differ by a step. Here sums
are exact and rounding is that of onnxruntime and XNNPACK: float32(sum) * float32(input scale *
kernel scale / output scale), to the nearest, halves to even. `docs/quantization.md` has how far the
files agree with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from toolchain.quantization.graph import (
    IMAGE,
    WITH_WEIGHTS,
    Affine,
    Graph,
    Node,
    stored_kernel,
)
from toolchain.quantization.snap import bias_steps, stored_bias

# Up to here float32 holds every whole number, so sums of whole numbers are exact in any order.
_EXACT: Final = 2**24
_LARGEST_INPUT: Final = 255


@dataclass(frozen=True, slots=True)
class _Tensor:
    """Real values = values * step.

    Attributes:
      values: float32 tensor [n, ...]; whole numbers where integers compute it, stored - zero point
        where it was rounded.
      step: float32, one or one a channel; 1 where values are real.
      zero_point: of what is stored.
    """

    values: Any
    step: Any
    zero_point: float = 0.0

    def real(self) -> Any:
        return self.values * self.step


@dataclass(frozen=True, slots=True)
class _Weights:
    """Of one layer: its kernel in parts along its input channels, and its bias.

    Attributes:
      parts: (first and last channel, kernel): no sum of whole numbers over one part leaves _EXACT.
      bias: int32 [out], or float32 of a float layer.
      steps: float32 [out], what 1 of a sum stands for.
    """

    parts: tuple[tuple[int, int, Any], ...]
    bias: Any
    steps: Any


class IntegerNetwork:
    """The graph in integers: normalised image, float32 [n, size, size, 3] -> logits [n, classes].

    It is called as a Keras model is, and cannot be trained. Layers that are kept float compute in
    float32.
    """

    def __init__(self, graph: Graph, ranges: Mapping[str, Affine]) -> None:
        self._graph = graph
        self._ranges = dict(ranges)
        self._weights = {n.name: self._weights_of(n) for n in graph.nodes if n.op in WITH_WEIGHTS}

    def __call__(self, image: Any, training: bool = False) -> Any:
        """The logits; `training` is there for those who ask Keras models too."""
        tensors = {IMAGE: self._rounded(_Tensor(image, np.float32(1)), IMAGE)}
        for node in self._graph.nodes:
            found = self._compute(node, [tensors[name] for name in node.inputs])
            tensors[node.name] = self._rounded(found, node.name)
        return tensors[self._graph.nodes[-1].name].real()

    def _weights_of(self, node: Node) -> _Weights:
        graph, ranges = self._graph, self._ranges
        if node.is_float:
            kernel, bias = (graph.arrays[f"{node.name}/{one}"] for one in ("kernel", "bias"))
            whole = ((0, kernel.shape[-2], tf.constant(kernel)),)
            return _Weights(whole, tf.constant(bias), np.float32(1))
        stored = stored_kernel(graph, ranges, node).astype(np.float32)
        parts = tuple((a, b, tf.constant(stored[..., a:b, :])) for a, b in _parts(stored, node))
        steps = bias_steps(graph, ranges, node).astype(np.float32)
        return _Weights(parts, tf.constant(stored_bias(graph, ranges, node)), steps)

    def _compute(self, node: Node, inputs: list[_Tensor]) -> _Tensor:
        given = inputs[0]
        if node.op in WITH_WEIGHTS:
            return self._linear(node, given)
        if node.op == "add":
            return self._sum(node, inputs)
        if node.op == "relu":
            return replace(given, values=tf.nn.relu(given.values))
        if node.op == "relu6":
            return replace(given, values=tf.clip_by_value(given.values, 0.0, 6 / given.step))
        if node.op == "mean":
            places = np.float32(given.values.shape[1] * given.values.shape[2])
            return _Tensor(tf.reduce_sum(given.values, axis=(1, 2)), given.step / places)
        return replace(given, values=_passed_on(node, given.values))

    def _linear(self, node: Node, given: _Tensor) -> _Tensor:
        weights = self._weights[node.name]
        values = given.real() if node.is_float else given.values
        sums = [_multiplied(node, values[..., a:b], kernel) for a, b, kernel in weights.parts]
        if node.is_float:
            return _Tensor(sums[0] + weights.bias, weights.steps)
        # Exact as they are, but where a device convolves by Winograd's transform, in fractions.
        whole = tf.add_n([tf.cast(tf.round(one), tf.int32) for one in sums]) + weights.bias
        return _Tensor(tf.cast(whole, tf.float32), weights.steps)

    def _sum(self, node: Node, inputs: list[_Tensor]) -> _Tensor:
        """Of two tensors; in steps of the result where it has some.

        Integer runtimes have one ratio of steps for each operand, and add the stored bytes. Three
        sums of a million are so close to a half that the last bit of float32 tells: this is its
        order in onnxruntime's kernels (MlasQLinearAdd), whose products are not rounded (FMA).
        """
        point = self._ranges.get(node.name)
        if point is None:
            return _Tensor(tf.add_n([one.real() for one in inputs]), np.float32(1))
        step = np.float32(point.scale)
        (a, ratio_a), (b, ratio_b) = ((one, one.step / step) for one in inputs)
        zeros = _fused(a.zero_point, ratio_a, b.zero_point * ratio_b)
        total = _fused(b.values + b.zero_point, ratio_b, np.float32(point.zero_point) - zeros)
        total = _fused(a.values + a.zero_point, ratio_a, total)
        return _Tensor(tf.round(total) - point.zero_point, step)

    def _rounded(self, tensor: _Tensor, name: str) -> _Tensor:
        """With 8 bits, where the output has 8 bits of its own."""
        point = self._ranges.get(name)
        if point is None:
            return tensor
        scale = np.float32(point.scale)
        zero = float(point.zero_point)
        steps = tf.round(tensor.values * (tensor.step / scale))
        return _Tensor(tf.clip_by_value(steps, -zero, 255 - zero), scale, zero)


def _fused(a: Any, b: Any, c: Any) -> Any:
    """a * b + c in float32, rounded once."""
    return tf.cast(
        tf.cast(a, tf.float64) * tf.cast(b, tf.float64) + tf.cast(c, tf.float64), tf.float32
    )


def _parts(kernel: NDArray[np.float32], node: Node) -> list[tuple[int, int]]:
    """Runs of input channels over which no partial sum of integers can leave _EXACT.

    A single channel is never cut: its window would have to hold 518 weights of 127.
    """
    if node.op == "depthwise":
        return [(0, kernel.shape[-2])]
    most = np.abs(kernel).reshape(-1, *kernel.shape[-2:]).sum(axis=0) * _LARGEST_INPUT
    ends, total = [0], np.zeros(kernel.shape[-1])
    for channel, largest in enumerate(most):
        total += largest
        if total.max() >= _EXACT and channel:
            ends.append(channel)
            total = largest.astype(np.float64)
    return list(zip(ends, [*ends[1:], len(most)], strict=True))


def _multiplied(node: Node, values: Any, kernel: Any) -> Any:
    if node.op == "dense":
        return tf.matmul(values, kernel)
    if node.op == "depthwise":
        strides = [1, node.stride, node.stride, 1]
        return tf.nn.depthwise_conv2d(values, kernel, strides, node.padding.upper())
    return tf.nn.conv2d(values, kernel, node.stride, node.padding.upper())


def _passed_on(node: Node, values: Any) -> Any:
    """What has the range of its input."""
    if node.op == "max":
        return tf.reduce_max(values, axis=(1, 2))
    if node.op == "flatten":
        return tf.reshape(values, (-1, int(np.prod(values.shape[1:]))))
    return tf.nn.max_pool2d(values, node.stride, node.stride, node.padding.upper())
