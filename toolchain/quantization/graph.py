"""The network as a flat list of linear operations, BatchNormalization folded into the kernels.

Quantization-aware training, TFLite and ONNX all start from this one description, so that the
three compute the same integers. Plain data: nothing here needs TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Op = Literal[
    "conv",
    "depthwise",
    "dense",
    "relu",
    "relu6",
    "add",
    "max_pool",
    "mean",
    "max",
    "flatten",
    "log_sigmoid",
]
IMAGE: Final = "image"
# What the kernels of files that compute in float are stored as, by precision.
KERNELS: Final = {"fp32": "float32", "fp16": "float16", "w8": "int8"}
WITH_WEIGHTS: Final = frozenset({"conv", "depthwise", "dense"})
# These pass values on or choose among them: the output has the range of the input.
SAME_RANGE: Final = frozenset({"max_pool", "max", "flatten"})


@dataclass(frozen=True, slots=True)
class Node:
    """One operation; its output has its name.

    Attributes:
      name: the Keras layer's name.
      op: what it does. conv, depthwise and dense are linear and have "name/kernel" and
        "name/bias"; mean and max reduce height and width; flatten is in height, width, channel
        order; log_sigmoid has no integer form, a graph that has it is never quantized.
      inputs: names of the nodes it reads; "image" is the network's input.
      stride: of conv, depthwise and max_pool, whose window is as large as its stride.
      padding: "same" or "valid", as TensorFlow means them.
      is_float: whether it computes in float where the others compute in integers, see
        `Graph.keep_float`.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    stride: int = 1
    padding: str = "same"
    is_float: bool = False


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in an order in which each reads only earlier ones; the last gives the logits.

    Attributes:
      size: width and height of the input.
      nodes: the operations.
      arrays: float32 kernels (conv [h, w, in, out], depthwise [h, w, in, 1], dense [in, out]) and
        biases [out].
    """

    size: int
    nodes: tuple[Node, ...]
    arrays: dict[str, NDArray[np.float32]]

    def with_arrays(self, arrays: dict[str, NDArray[np.float32]]) -> Graph:
        """The same operations with other weights."""
        return replace(self, arrays=arrays)

    def keep_float(self, layers: Iterable[str]) -> Graph:
        """The same operations, with these layers out of the integers too.

        What has no weights computes as its neighbours do, and one integer layer around it is
        enough to make it integer: nothing is float that was not asked for but what lies between
        float layers alone.
        """
        asked = {*layers, *self.float_layers()}
        floats = {node.name for node in self.nodes if node.op not in WITH_WEIGHTS} | asked
        reached = [node.name for node in self.nodes if node.name not in floats]
        while reached:
            near = self.neighbours(reached.pop()) & floats - asked
            floats -= near
            reached += near
        nodes = (replace(node, is_float=node.name in floats) for node in self.nodes)
        return replace(self, nodes=tuple(nodes))

    def float_layers(self) -> tuple[str, ...]:
        """The layers with weights that are kept float, in order."""
        return tuple(n.name for n in self.nodes if n.is_float and n.op in WITH_WEIGHTS)

    def integer_layers(self) -> tuple[Node, ...]:
        """The layers with weights that compute in integers, in order."""
        return tuple(n for n in self.nodes if n.op in WITH_WEIGHTS and not n.is_float)

    def neighbours(self, name: str) -> set[str]:
        """The nodes that a node reads or is read by."""
        read = {other for node in self.nodes if node.name == name for other in node.inputs}
        return (read | {node.name for node in self.consumers(name)}) - {IMAGE}

    def consumers(self, name: str) -> list[Node]:
        """The nodes that read an output."""
        return [node for node in self.nodes if name in node.inputs]


def range_points(graph: Graph) -> list[str]:
    """The outputs that get 8 bits of their own, in order, the input first.

    A linear operation that only feeds an activation has none: phone and server runtimes compute
    the two as one, and rounding between them would be an error that exists in training alone.
    Neither has what only float operations write and read; the input is made of bytes either way.
    """
    points = [IMAGE]
    for node in graph.nodes:
        readers = graph.consumers(node.name)
        fused = bool(readers) and all(r.op in ("relu", "relu6") for r in readers)
        is_float = node.is_float and all(r.is_float for r in readers)
        passed_on = node.op in SAME_RANGE or (node.op in WITH_WEIGHTS and fused)
        if not passed_on and not is_float:
            points.append(node.name)
    return points


@dataclass(frozen=True, slots=True)
class Affine:
    """8-bit quantization: real = scale * (stored - zero_point), stored in 0..255.

    Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-
    Only Inference, arXiv 1712.05877, section 2.1.
    """

    scale: float
    zero_point: int

    @property
    def low(self) -> float:
        """Real value of stored 0."""
        return -self.zero_point * self.scale

    @property
    def high(self) -> float:
        """Real value of stored 255."""
        return (255 - self.zero_point) * self.scale


def ranges_of(graph: Graph, ranges: Mapping[str, Affine]) -> dict[str, Affine]:
    """Those of the ranges that the graph needs: the more layers are float, the fewer."""
    return {name: ranges[name] for name in range_points(graph)}


# A tensor no wider than this is always zero and still needs a scale.
_NOTHING: Final = 1e-6
# XNNPACK loads no layer whose input scale * kernel scale is 256 times its output's scale or more.
# A quarter of that leaves training room to make kernels larger.
_MOST_TIMES_OUTPUT: Final = 64


def affine(low: float, high: float) -> Affine:
    """The quantization of a range, widened to hold 0 and moved so that 0 is exact."""
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    if high - low < _NOTHING:
        low, high = 0.0, 1.0
    scale = float(np.float32((high - low) / 255.0))
    return Affine(scale, int(np.clip(round(-low / scale), 0, 255)))


def loadable(graph: Graph, ranges: Mapping[str, Affine]) -> dict[str, Affine]:
    """The ranges, those widened that are so narrow that no runtime would load the layer before.

    Such a layer's whole output is less than four of the steps that its products are made of, so
    that nothing is lost by a range of that width.
    """
    result = dict(ranges)
    for layer in graph.integer_layers():
        product = input_range(graph, result, layer).scale * scales_of(graph, result, layer).max()
        least = 255 * float(product) / _MOST_TIMES_OUTPUT
        activations = [reader.name for reader in graph.consumers(layer.name)]
        for name in [layer.name] if layer.name in result else activations:
            point = result[name]
            if point.high - point.low < least:
                result[name] = affine(point.low, point.low + least)
    return result


def input_affine(mean: float, std: float) -> Affine:
    """The quantization of normalised pixels (pixel - mean) / std: what is stored is the pixel.

    The mean is a whole byte in every preprocessing, see `images.preprocess.MEAN_STD`.
    """
    return Affine(float(np.float32(1.0 / std)), round(mean))


# A channel of zeros still needs a scale; the same floor holds in QAT.
MIN_MAGNITUDE: Final = np.float32(1e-6)
# Clustered kernels have many channels whose largest pair are two equal weights. These would lie
# halfway between two integers, where numpy rounds to even and TensorFlow up.
OFF_TIES: Final = np.float32(1 + 2**-18)
# Of the 2^31 steps that a bias may count; the products that are added to it have the other half.
_BIAS_STEPS: Final = 2**30


def largest_for_bias(input_scale: float) -> np.float32:
    """What a channel's largest weight has to be for each 1 of its bias, at least.

    Integer runtimes store a bias as int32 in steps of input scale * kernel scale, and cut off what
    does not fit: 0.2 or so for a channel of zeros, which any pruned network has. The products that
    such a channel is rounded in more coarsely for it are 1 / 4,000,000 of its bias.
    """
    return np.float32(127 / (input_scale * _BIAS_STEPS))


def weight_scales(
    kernel: NDArray[np.float32], op: str, bias: NDArray[np.float32], input_scale: float
) -> NDArray[np.float32]:
    """Symmetric scales, float32 [out], with which biases fit and no x86 processor cuts a product.

    Processors without VNNI (AVX2, most AVX-512) multiply uint8 activations with int8 weights by
    VPMADDUBSW, which adds two neighbouring products in int16 and saturates: 255 * (127 + 127) is
    64,770, the most is 32,767. So it is not a channel's largest magnitude that becomes 127 but the
    largest sum of two neighbours of one sign; after rounding each, 255 * 128 = 32,640 still fits.
    Neighbours are so in the order [h, w, in], in which onnxruntime's kernels read. A depthwise
    kernel is multiplied without pairs there. Costs 0.2 of the 8 bits on MobileNetV2 (median of its
    layers; halving all weights, as `reduce_range` does elsewhere, costs 1) and is the same in every
    format, so that the files agree on every processor.

    Where weights are so small that the bias would not fit, see `largest_for_bias`, it decides. A
    dense kernel has one scale for all its channels, see `qat.SymmetricKernel`.
    """
    if op == "depthwise":
        largest = np.abs(kernel).max(axis=(0, 1, 3))
    else:
        rows = kernel.reshape(-1, kernel.shape[-1])
        pairs = np.pad(rows, ((0, len(rows) % 2), (0, 0))).reshape(-1, 2, rows.shape[1])
        sums = [np.maximum(sign * pairs, 0).sum(axis=1) for sign in (1, -1)]
        largest = np.max(sums, axis=(0, 1))
    least = np.maximum(np.abs(bias) * largest_for_bias(input_scale), MIN_MAGNITUDE)
    largest = np.maximum(largest * OFF_TIES, least)
    if op == "dense":
        largest = np.full_like(largest, largest.max())
    return (largest / np.float32(127)).astype(np.float32)


def scales_of(graph: Graph, ranges: Mapping[str, Affine], node: Node) -> NDArray[np.float32]:
    """The `weight_scales` of a layer."""
    kernel, bias = (graph.arrays[f"{node.name}/{one}"] for one in ("kernel", "bias"))
    return weight_scales(kernel, node.op, bias, input_range(graph, ranges, node).scale)


def stored_kernel(graph: Graph, ranges: Mapping[str, Affine], node: Node) -> NDArray[np.int8]:
    """The integers of a layer's kernel."""
    kernel = graph.arrays[f"{node.name}/kernel"]
    return stored_weights(kernel, scales_of(graph, ranges, node), channel_axis(node))


def rounded_kernel(graph: Graph, ranges: Mapping[str, Affine], node: Node) -> NDArray[np.float32]:
    """What 8 bits make of a layer's kernel: real values on the grid of its scales."""
    stored, axis = stored_kernel(graph, ranges, node), channel_axis(node)
    return stored * along(scales_of(graph, ranges, node), stored.ndim, axis)


def rounded_kernels(graph: Graph, ranges: Mapping[str, Affine]) -> dict[str, NDArray[np.float32]]:
    """The `rounded_kernel` of each layer that computes in integers, under the graph's names."""
    layers = graph.integer_layers()
    return {f"{node.name}/kernel": rounded_kernel(graph, ranges, node) for node in layers}


def channel_axis(node: Node) -> int:
    """The axis of a kernel that has its output channels."""
    return 2 if node.op == "depthwise" else -1


def stored_weights(
    weights: NDArray[np.float32], scales: NDArray[np.float32], axis: int
) -> NDArray[np.int8]:
    """Symmetric int8 in -127..127, with one scale for each position of an axis."""
    column = along(scales, weights.ndim, axis)
    return np.clip(np.round(weights / column), -127, 127).astype(np.int8)


def along(scales: NDArray[np.float32], dimensions: int, axis: int) -> NDArray[np.float32]:
    """Scales [n] in a shape that meets an axis of n of an array with so many dimensions."""
    return scales.reshape([-1 if at == axis % dimensions else 1 for at in range(dimensions)])


def input_range(graph: Graph, ranges: Mapping[str, Affine], node: Node) -> Affine:
    """The quantization of what a node reads, found through operations that pass it on."""
    name = node.inputs[0]
    while name not in ranges:
        name = next(other for other in graph.nodes if other.name == name).inputs[0]
    return ranges[name]
