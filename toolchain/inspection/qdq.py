"""What onnxruntime's CPU provider makes integer ops of in a graph of QDQ form: its rules, once.

onnxruntime replaces an op by an integer one if its data come from DequantizeLinear and its result
goes to QuantizeLinear (1.31: qdq_selectors.cc, qdq_propagation.cc, and the fusions before those).
Everything else computes in float, however many of them stand around it. Where these rules know less
than onnxruntime does, they say float.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from toolchain.inspection.graph import (
    DEQUANTIZE,
    LAYOUT,
    QUANTIZE,
    STEPS,
    OnnxGraph,
    attribute,
)

EIGHT_BITS: Final = frozenset({"uint8", "int8"})
# Quantization is moved through these (Flatten is not one of them), or they are taken out before.
PASSED: Final = LAYOUT - {"Flatten"} | {"Dropout"}
# A kernel with a scale a channel is moved through fewer.
_KERNEL_PASSED: Final = frozenset({"Identity", "Transpose"})
_REMOVED: Final = frozenset({"Identity", "Dropout"})
_ACTIVATIONS: Final = frozenset({"Relu", "Clip"})
# The layers that have an integer form. ConvTranspose, recurrent ones and Attention have none.
_LAYERS: Final = frozenset({"Conv", "Gemm", "MatMul"})
# Other ops that have one -> which of their inputs have to be quantized.
_FIRST: Final = slice(1)
_OTHERS: Final = {
    **dict.fromkeys(("AveragePool", "GlobalAveragePool"), _FIRST),
    **dict.fromkeys(("LeakyRelu", "Sigmoid", "Softmax"), _FIRST),
    **dict.fromkeys(("Add", "Mul", "MatMul"), slice(2)),
    **dict.fromkeys(("Split", "Expand", "Gather", "GatherElements", "Tile"), _FIRST),
    **dict.fromkeys(("Resize", "ReduceMax", "ReduceMin"), _FIRST),
    "Where": slice(1, 3),
    "Concat": slice(None),
}
# These have it only where scale and zero point stay what they are.
_ALIKE: Final = frozenset({"Resize", "ReduceMax", "ReduceMin"})
_RANGES: Final = {
    name: (int(np.iinfo(name).min), int(np.iinfo(name).max))
    for name in ("uint8", "int8", "uint16", "int16")
}


class Walk(NamedTuple):
    """A way from an op up to a DequantizeLinear, or down to a QuantizeLinear.

    Attributes:
      found: that node, or None.
      end: the name of the value that the way ended at.
      between: the ops that it went through.
    """

    found: Any
    end: str
    between: list[Any]


def dequantizer(
    graph: OnnxGraph, node: Any, position: int, passed: frozenset[str] = PASSED
) -> Walk:
    """The DequantizeLinear that an op's input comes from; ops that are `passed` do not count."""
    name = node.input[position] if position < len(node.input) else ""
    between: list[Any] = []
    for _ in range(STEPS):
        producer = graph.producer(name)
        if producer is None or not producer.input:
            break
        if producer.op_type == DEQUANTIZE:
            return Walk(producer, name, between)
        if producer.op_type not in passed and not _is_taken_out(graph, producer, node):
            break
        # The data of a layout op come first; of a sum with a constant it is the other.
        given = producer.input[:1] if producer.op_type in PASSED else producer.input
        name = next((one for one in given if not graph.is_constant(one)), producer.input[0])
        between.append(producer)
    return Walk(None, name, between)


def _is_taken_out(graph: OnnxGraph, node: Any, reader: Any) -> bool:
    """Whether an op before another is made part of it: zeros around an image, a Cast of nothing."""
    if node.op_type == "Cast":
        source = graph.producer(node.input[0])
        is_float = source is not None and source.op_type == DEQUANTIZE
        return is_float and attribute(node, "to", 0) == 1 and _has_float_scale(graph, source)
    if node.op_type != "Pad" or reader.op_type != "Conv" or len(graph.readers(node.output[0])) > 1:
        return False
    pads = graph.numbers(node.input[1]) if len(node.input) > 1 else None
    zeros = len(node.input) == 2 or (len(node.input) == 3 and graph.scalar(node.input[2]) == 0)
    if pads is None or not zeros or attribute(node, "mode", b"constant") != b"constant":
        return False
    axes = pads.reshape(2, -1)
    return bool(not axes[:, :2].any() and (axes >= 0).all())


def _has_float_scale(graph: OnnxGraph, node: Any) -> bool:
    return len(node.input) > 1 and graph.dtype_of(node.input[1]) == "float32"


def quantizer(graph: OnnxGraph, node: Any, name: str) -> Walk:
    """The QuantizeLinear that a result of an op goes to.

    All readers have to be one, or several with the very same scale and zero point, which are
    merged. An activation is dropped directly behind the op, and only where rounding does its work.
    """
    between: list[Any] = []
    for _ in range(STEPS):
        readers = graph.readers(name)
        if graph.is_output(name) or not readers or node.op_type == DEQUANTIZE:
            break
        if all(one.op_type == QUANTIZE and one.input[0] == name for one in readers):
            is_one = _are_merged(graph, readers) and all(
                is_absorbed(graph, one, readers[0], 0.5)
                for one in between
                if one.op_type in _ACTIVATIONS
            )
            return Walk(readers[0] if is_one else None, name, between)
        if len(readers) > 1 or not _is_followed(graph, node, name, between):
            break
        between.append(readers[0])
        name = readers[0].output[0]
    return Walk(None, name, between)


def _is_followed(graph: OnnxGraph, node: Any, name: str, between: Sequence[Any]) -> bool:
    """Whether the only reader of a value is fused with the op, or lets quantization through."""
    (reader,) = graph.readers(name)
    if not reader.output:
        return False
    if reader.op_type in _ACTIVATIONS:
        return all(one.op_type in _REMOVED or one.op_type == "Add" for one in between)
    if reader.op_type == "Add":
        # MatMul and Add become a Gemm. With more than two axes some of them stay float.
        is_dense = node.op_type == "MatMul" and graph.rank(node.input[0]) == 2
        return is_dense and not between and any(map(graph.is_constant, reader.input))
    return reader.op_type in PASSED and reader.input[0] == name


def _are_merged(graph: OnnxGraph, nodes: Sequence[Any]) -> bool:
    """Equal scales of one number are made one tensor before, zero points are not."""
    first = nodes[0]
    return all(
        one.input[2:] == first.input[2:]
        and (one.input[1] == first.input[1] or _is_alike(graph, [one, first]))
        and attribute(one, "output_dtype", 0) == attribute(first, "output_dtype", 0)
        for one in nodes[1:]
    )


def is_absorbed(graph: OnnxGraph, node: Any, rounding: Any, slack: float) -> bool:
    """Whether a Relu or Clip changes nothing that this QuantizeLinear would not cut off as well.

    Args:
      slack: how much narrower than the range of the integers a Clip may be, in their steps.
    """
    dtype, scale = graph.quantized_as(rounding), graph.scalar(rounding.input[1])
    zero = graph.scalar(rounding.input[2]) if len(rounding.input) > 2 else 0
    if dtype not in _RANGES or scale is None or not scale > 0 or zero is None:
        return False
    lowest, highest = (scale * (end - zero) for end in _RANGES[dtype])
    if node.op_type == "Relu":
        return bool(lowest == 0)
    ends = [_end(graph, node, place) for place in (1, 2)]
    if None in ends:
        return False
    room = slack * scale + float(np.finfo(np.float32).eps)
    return bool(ends[0] <= lowest + room and ends[1] >= highest - room)


def _end(graph: OnnxGraph, node: Any, place: int) -> Any:
    """An end of a Clip, -inf or inf where there is none; None where it is not in the file."""
    if place < len(node.input) and node.input[place]:
        return graph.scalar(node.input[place])
    name, missing = (("min", -np.inf), ("max", np.inf))[place - 1]
    return attribute(node, name, missing)


def dtype_into(graph: OnnxGraph, node: Any, position: int, passed: frozenset[str] = PASSED) -> str:
    """Dtype of an op's data before their DequantizeLinear; "" where there are none."""
    if position >= len(node.input):
        return ""
    if node.op_type == QUANTIZE:
        return graph.dtype_of(node.input[position])
    walk = dequantizer(graph, node, position, passed)
    return graph.dtype_of(walk.end) if walk.found is None else graph.quantized_as(walk.found)


def dtype_out_of(graph: OnnxGraph, node: Any) -> str:
    """Dtype of an op's result after the QuantizeLinear it goes to; "" where there is none."""
    if not node.output:
        return ""
    found = quantizer(graph, node, node.output[0]).found
    return graph.dtype_of(node.output[0]) if found is None else graph.quantized_as(found)


def is_integer_layer(graph: OnnxGraph, node: Any) -> bool:
    """Whether onnxruntime makes QLinearConv, QGemm, QLinearMatMul or the like of a layer."""
    if node.op_type not in _LAYERS or node.domain not in ("", "ai.onnx"):
        return False
    if not _are_quantized(graph, node, [0]) or not _are_quantized(graph, node, [1], _KERNEL_PASSED):
        return False
    if attribute(node, "alpha", 1.0) != 1 or (
        _has_bias(node) and attribute(node, "beta", 1.0) != 1
    ):
        return False
    found, _, between = quantizer(graph, node, node.output[0])
    is_gemm = node.op_type == "Gemm" or any(one.op_type == "Add" for one in between)
    if is_gemm and not all(_has_zero_point(graph, node, position) for position in (0, 1)):
        return False
    return _gives_floats(graph, node) if found is None else graph.quantized_as(found) in EIGHT_BITS


def _has_zero_point(graph: OnnxGraph, node: Any, position: int) -> bool:
    """Whether the zero point of an operand is written down, which QGemm asks for alone."""
    return len(dequantizer(graph, node, position).found.input) > 2


def _has_bias(node: Any) -> bool:
    return len(node.input) > 2 and bool(node.input[2])


def _gives_floats(graph: OnnxGraph, node: Any) -> bool:
    """Whether a layer is made an integer one with a float result: no fusion may come before."""
    if node.op_type == "Conv" or (_has_bias(node) and dequantizer(graph, node, 2).found is None):
        return False
    readers = graph.readers(node.output[0])
    if node.op_type == "MatMul" and any(one.op_type == "Add" for one in readers):
        return False
    return not any(one.op_type in _ACTIVATIONS | {QUANTIZE} for one in readers)


def is_integer_op(graph: OnnxGraph, node: Any) -> bool:
    """Whether onnxruntime computes an op without weights in integers."""
    if node.op_type not in _OTHERS or node.domain not in ("", "ai.onnx"):
        return False
    if not _are_quantized(graph, node, range(len(node.input))[_OTHERS[node.op_type]]):
        return False
    used = [name for name in node.output if graph.readers(name) or graph.is_output(name)]
    found = [quantizer(graph, node, name).found for name in used]
    if not all(one is not None and graph.quantized_as(one) in EIGHT_BITS for one in found):
        return False
    return node.op_type not in _ALIKE or _is_alike(
        graph, [dequantizer(graph, node, 0).found, *found]
    )


def _are_quantized(
    graph: OnnxGraph, node: Any, positions: Sequence[int], passed: frozenset[str] = PASSED
) -> bool:
    found = [dequantizer(graph, node, position, passed).found for position in positions]
    return all(one is not None and graph.quantized_as(one) in EIGHT_BITS for one in found)


def _is_alike(graph: OnnxGraph, nodes: Sequence[Any]) -> bool:
    """Whether nodes round with the same scale and zero point of one number each."""
    steps = {(graph.quantized_as(one), *map(graph.scalar, one.input[1:])) for one in nodes}
    return len(steps) == 1 and None not in steps.pop()


def fused_with(graph: OnnxGraph, node: Any) -> set[str]:
    """Results of the ops that become part of an integer op, or let its integers through."""
    walks = [dequantizer(graph, node, position) for position in range(len(node.input))]
    behind = [quantizer(graph, node, name) for name in node.output]
    walks += [walk for walk in behind if walk.found is not None]
    return {one.output[0] for walk in walks for one in walk.between if one.output}


def is_dropped(graph: OnnxGraph, node: Any) -> bool:
    """Whether an op is a Relu or Clip that QuantizeLinear makes needless, whatever is before it."""
    if node.op_type not in _ACTIVATIONS or not node.output:
        return False
    readers = graph.readers(node.output[0])
    is_rounded = bool(readers) and all(one.op_type == QUANTIZE for one in readers)
    return is_rounded and all(is_absorbed(graph, node, one, 0.0) for one in readers)
