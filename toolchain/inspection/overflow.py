"""Integer layers of an .onnx file that some x86 processors compute otherwise. Plain numpy.

Without VNNI (AVX2, older AVX-512) onnxruntime multiplies uint8 activations with int8 weights by
VPMADDUBSW: two neighbouring products are added in 16 bits and cut off at -32,768 and 32,767 (Intel
SDM volume 2, "PMADDUBSW"). 255 * 127 twice is 64,770, so a file whose kernels use all their bits
gives other results there than on VNNI or ARM, and nothing says so.

What follows was measured with onnxruntime 1.31 on AVX2, against exact products:

- uint8 with uint8 and int8 with int8 are multiplied in wider numbers. But of a file in QDQ form
  onnxruntime makes int8 activations uint8 when it loads it on x86: they count as uint8 here.
- ConvInteger has its kernel on the left: int8 kernels are safe there, uint8 ones may not be.
- A convolution with one input and one output channel a group is multiplied one by one.
- MatMul and Gemm compute in integers whether or not their result is quantized.
- A float kernel between DequantizeLinear and QuantizeLinear is quantized as the file is loaded, to
  all of its 8 bits.
- MatMul and Gemm of floats with a kernel of integers become MatMulNBits, which rounds the data to
  int8 in blocks. Those products are not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from toolchain.inspection.graph import DENSE, OnnxGraph, attribute
from toolchain.inspection.kinds import INTEGERS
from toolchain.inspection.qdq import EIGHT_BITS, PASSED, dequantizer, dtype_into, is_integer_layer
from toolchain.inspection.scheme import OpSummary

# What is known of an integer layer, as `Inspection` calls it.
_PROVEN: Final = "proven"
_OVERFLOWING: Final = "overflowing"
_UNPROVEN: Final = "unproven"
_MOST: Final = 32_767
_HIGHEST_ACTIVATION: Final = 255
# Op -> position of its kernel among its inputs: of float ops that a runtime makes integer ones, of
# integer ones, and of those that quantize their data when they meet them.
_QDQ: Final = {"Conv": 1, "Gemm": 1, "MatMul": 1}
_INTEGER: Final = {"QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}
_DYNAMIC: Final = {
    "ConvInteger": 1,
    "MatMulInteger": 1,
    "MatMulIntegerToFloat": 1,
    "DynamicQuantizeMatMul": 1,
}
_KERNELS: Final = _QDQ | _INTEGER | _DYNAMIC
_CONVOLUTIONS: Final = frozenset({"Conv", "QLinearConv"})
# Ops that onnxruntime takes out of a graph where they change nothing, or makes part of the next.
_VANISHING: Final = frozenset(
    {"Add", "Cast", "Concat", "Div", "Dropout", "Expand", "Flatten", "Mul", "Pad", "Sub"}
)
# These multiply integers in ways that are not looked at here.
_UNREAD: Final = frozenset(
    {
        "QAttention",
        "DynamicQuantizeLSTM",
        "MatMulNBits",
        "QMoE",
        "QOrderedAttention",
        "QOrderedLongformerAttention",
        "QOrderedMatMul",
    }
)


def products_of(
    nodes: Sequence[Any], ops: tuple[OpSummary, ...], graph: OnnxGraph
) -> dict[str, tuple[str, ...]]:
    """ "proven", "overflowing" and "unproven" -> outputs of the integer layers of which that is so.

    Proven: no image makes two neighbouring products leave 16 bits, because the types are multiplied
    in wider numbers, or by the kernel. Overflowing: some image may. Unproven: the kernel does not
    lie in the file as integers, or the op is one that is not looked at.

    Raises:
      ValueError: a kernel is damaged.
    """
    found: dict[str, list[str]] = {_PROVEN: [], _OVERFLOWING: [], _UNPROVEN: []}
    kernels = _Kernels(graph)
    for node, op in zip(nodes, ops, strict=True):
        verdict = _verdict(node, op, graph, kernels)
        if verdict:
            found[verdict].append(op.output)
    return {verdict: tuple(names) for verdict, names in found.items()}


def _verdict(node: Any, op: OpSummary, graph: OnnxGraph, kernels: _Kernels) -> str:
    """What is known of a node's products; "" where it multiplies no integers."""
    if node.op_type in _UNREAD:
        return _UNPROVEN
    if node.op_type not in _KERNELS:
        return ""
    if _is_weight_only(node, graph):
        return _UNPROVEN
    data, kernel = _operands(node, graph)
    if node.op_type in _QDQ and data == "uint8" and kernel.startswith("float"):
        # onnxruntime quantizes it on its own, where the result is quantized too.
        quantized = node.op_type != "MatMul" and op.activation_out in EIGHT_BITS
        return _UNPROVEN if quantized else ""
    if not {data, kernel} <= EIGHT_BITS:
        return ""
    verdict = _PROVEN if kernel in (data, "int8") else _UNPROVEN
    if (data, kernel) == ("uint8", "int8") and node.op_type != "ConvInteger":
        verdict = kernels.verdict(node)
    is_float = node.op_type in _QDQ and not is_integer_layer(graph, node)
    return "" if is_float and verdict == _PROVEN else verdict


def _is_weight_only(node: Any, graph: OnnxGraph) -> bool:
    """Whether a dense layer has float data and a matrix of integers behind DequantizeLinear."""
    if node.op_type not in DENSE or attribute(node, "transB", 0):
        return False
    kernel = dequantizer(graph, node, 1).found
    if kernel is None or graph.quantized_as(kernel) not in INTEGERS:
        return False
    is_matrix = len(graph.shape(kernel.input[0])) == 2
    return is_matrix and dequantizer(graph, node, 0).found is None


def _operands(node: Any, graph: OnnxGraph) -> tuple[str, str]:
    """Dtypes that data and kernel are multiplied in."""
    kernel = dtype_into(graph, node, _KERNELS[node.op_type])
    data = dtype_into(graph, node, 0, PASSED | _VANISHING)
    if node.op_type in _QDQ and data == "int8":
        return "uint8", kernel
    if node.op_type in _DYNAMIC and data not in EIGHT_BITS:
        return "uint8", kernel
    return data, kernel


class _Kernels:
    """Many nodes may name one large kernel: it is looked at once for each way to read it."""

    def __init__(self, graph: OnnxGraph) -> None:
        self._graph = graph
        self._known: dict[tuple[str, bool, bool], str] = {}

    def verdict(self, node: Any) -> str:
        name = self._graph.constant_name(node, _KERNELS[node.op_type])
        is_convolution = node.op_type in _CONVOLUTIONS
        if is_convolution and _is_depthwise(node, self._graph.shape(name)):
            return _PROVEN
        transposed = any(one.name == "transB" and one.i for one in node.attribute)
        key = (name, is_convolution, transposed)
        if key not in self._known:
            self._known[key] = _bound(self._graph.int8(name), is_convolution, transposed)
        return self._known[key]


def _bound(kernel: NDArray[np.int8] | None, is_convolution: bool, transposed: bool) -> str:
    if kernel is None or kernel.ndim < (3 if is_convolution else 1):
        return _UNPROVEN
    fits = largest_pair(_rows(kernel, is_convolution, transposed)) <= _MOST
    return _PROVEN if fits else _OVERFLOWING


def largest_pair(rows: NDArray[np.int8]) -> int:
    """The largest magnitude that two neighbouring products can add up to, whatever the image.

    The worst image is 255 under every value of one sign and 0 under the others.

    Args:
      rows: int8 [n, out], a kernel; neighbours are rows 0 and 1, 2 and 3 and so on.
    """
    odd = len(rows) % 2
    pairs = np.pad(rows.astype(np.int64), ((0, odd), (0, 0))).reshape(-1, 2, rows.shape[1])
    sums = [np.maximum(sign * pairs, 0).sum(axis=1).max(initial=0) for sign in (1, -1)]
    return int(_HIGHEST_ACTIVATION * max(sums))


def _is_depthwise(node: Any, shape: tuple[int, ...]) -> bool:
    """One input and one output channel a group; with more outputs a group it is a product of rows
    and columns like any other.
    """
    groups = next((one.i for one in node.attribute if one.name == "group"), 1)
    return groups > 1 and len(shape) > 1 and shape[0] == groups and shape[1] == 1


def _rows(kernel: NDArray[np.int8], is_convolution: bool, transposed: bool) -> NDArray[np.int8]:
    """[n, out] in the order in which neighbours are multiplied: height, width, input channel."""
    if is_convolution:
        axes = (*range(2, kernel.ndim), 1, 0)
        return kernel.transpose(axes).reshape(-1, kernel.shape[0])
    if transposed:
        return kernel.T
    if kernel.ndim == 1:
        return kernel[:, None]
    # A stack of matrices: each begins with a pair of its own.
    return np.moveaxis(kernel, -2, 0).reshape(kernel.shape[-2], -1)
