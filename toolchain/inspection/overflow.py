"""Integer layers of an .onnx file that some x86 processors compute otherwise. Plain numpy.

Without VNNI (AVX2, older AVX-512) onnxruntime multiplies uint8 activations with int8 weights by
VPMADDUBSW: two neighbouring products are added in 16 bits and cut off at -32,768 and 32,767 (Intel
SDM volume 2, "PMADDUBSW"). 255 * 127 twice is 64,770, so a file whose kernels use all their bits
gives other results there than on VNNI or ARM, and nothing says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from toolchain.inspection.graph import OnnxGraph
from toolchain.inspection.scheme import OpSummary

_MOST: Final = 32_767
_HIGHEST_ACTIVATION: Final = 255
# Op -> position of its kernel among its inputs.
_KERNELS: Final = {
    "Conv": 1,
    "QLinearConv": 3,
    "ConvInteger": 1,
    "Gemm": 1,
    "QGemm": 3,
    "MatMul": 1,
    "QLinearMatMul": 3,
    "MatMulInteger": 1,
    "MatMulIntegerToFloat": 1,
    "DynamicQuantizeMatMul": 1,
}
_CONVOLUTIONS: Final = frozenset({"Conv", "QLinearConv", "ConvInteger"})
# These quantize float activations when they meet them, to uint8.
_DYNAMIC: Final = frozenset(
    {"ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
)


def overflowing(
    nodes: Sequence[Any], ops: tuple[OpSummary, ...], graph: OnnxGraph
) -> tuple[str, ...]:
    """Outputs of the layers in which two products of uint8 and int8 may not fit 16 bits.

    onnxruntime multiplies other pairs of types in wider numbers, and the kernels of depthwise
    convolutions one by one (1.31 on AVX2, compared with exact products).

    Raises:
      ValueError: a kernel is damaged.
    """
    known: dict[tuple[str, ...], bool] = {}
    found = []
    for node, op in zip(nodes, ops, strict=True):
        saturates = op.activation_in == "uint8" or node.op_type in _DYNAMIC
        if op.kind in ("int8", "w8") and op.weights == "int8" and saturates:
            kernel = graph.constant_name(node, _KERNELS.get(node.op_type, 1))
            # Many nodes may name one large kernel: it is looked at once an op type.
            key = (kernel, node.op_type)
            if key not in known:
                known[key] = _overflows(node, graph.constant(kernel))
            if known[key]:
                found.append(op.output)
    return tuple(found)


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


def _overflows(node: Any, kernel: NDArray[Any] | None) -> bool:
    if kernel is None or kernel.dtype != np.int8 or kernel.ndim < 2 or _is_depthwise(node, kernel):
        return False
    return largest_pair(_rows(node, kernel)) > _MOST


def _is_depthwise(node: Any, kernel: NDArray[Any]) -> bool:
    groups = next((one.i for one in node.attribute if one.name == "group"), 1)
    return node.op_type in _CONVOLUTIONS and groups > 1 and kernel.shape[1] == 1


def _rows(node: Any, kernel: NDArray[np.int8]) -> NDArray[np.int8]:
    """[n, out] in the order in which neighbours are multiplied: height, width, input channel."""
    if node.op_type in _CONVOLUTIONS:
        axes = (*range(2, kernel.ndim), 1, 0)
        return kernel.transpose(axes).reshape(-1, kernel.shape[0])
    transposed = any(one.name == "transB" and one.i for one in node.attribute)
    return kernel.T if transposed else kernel.reshape(-1, kernel.shape[-1])
