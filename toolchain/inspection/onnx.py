"""Reads an .onnx file, with the QuantizeLinear and DequantizeLinear around each op looked through.

What of a QDQ graph computes in integers is what onnxruntime makes integer ops of, see `qdq`
(https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from toolchain.contract import TensorSpec
from toolchain.errors import ModelError
from toolchain.inspection.graph import DENSE, INTEGER_OPS, LAYOUT, OnnxGraph
from toolchain.inspection.kinds import INTEGERS, kind_of
from toolchain.inspection.overflow import products_of
from toolchain.inspection.qdq import (
    dtype_into,
    dtype_out_of,
    fused_with,
    is_dropped,
    is_integer_layer,
    is_integer_op,
)
from toolchain.inspection.regions import Flow, regions_of
from toolchain.inspection.scheme import Inspection, OpSummary, scheme_of
from toolchain.runtimes.carried import damaged
from toolchain.runtimes.onnx_file import require_one_file

# The last one is of files that onnxruntime saved for the processor it ran on.
DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"})
MAX_NODES: Final = 100_000
# Op -> positions of its data and of its weights among its inputs.
_LAYERS: Final = {
    "Conv": (0, 1),
    "ConvTranspose": (0, 1),
    "Gemm": (0, 1),
    "MatMul": (0, 1),
    # What onnxruntime makes of those with an activation, all of them float.
    "FusedConv": (0, 1),
    "FusedGemm": (0, 1),
    "FusedMatMul": (0, 1),
    # Float arithmetic as well, whatever their weights are stored in.
    **dict.fromkeys(("LSTM", "GRU", "RNN", "Attention"), (0, 1)),
}
# These hold integer weights and compute in integers, range of the data known (a) or measured at
# run time, which is what "dynamic range" means (b).
_INTEGER_LAYERS: Final = {"QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}
_DYNAMIC_LAYERS: Final = {
    "ConvInteger": 1,
    "MatMulInteger": 1,
    "DynamicQuantizeMatMul": 1,
    "MatMulIntegerToFloat": 1,
    "DynamicQuantizeLSTM": 1,
    "QAttention": 1,
}
# Its weights are packed bytes of so many "bits" each.
_PACKED: Final = "MatMulNBits"
_ROUNDING: Final = frozenset({"QuantizeLinear", "DequantizeLinear", "Constant"})
_EDGES: Final = _ROUNDING | {"Softmax", "LogSoftmax", "Sigmoid", "ArgMax", "TopK"}
# These read no values, or move them alone.
_NO_ARITHMETIC: Final = _ROUNDING | LAYOUT | {"Shape", "Size", "ReorderInput", "ReorderOutput"}
# Text that is no UTF-8 is met where it is read, long after the file was parsed.
_DAMAGE: Final = (ValueError, IndexError, TypeError)
_FLOATS: Final = frozenset({"float16", "float32", "float64", "bfloat16"})


def read_onnx(path: Path) -> Inspection:
    """What an .onnx file holds.

    Raises:
      ModelError: damaged, with external data, control flow, functions, or foreign operators.
    """
    model = _parse(path)
    try:
        return _read(model, path)
    except _DAMAGE as error:
        raise damaged(path, error) from error


def _read(model: Any, path: Path) -> Inspection:
    _refuse(model, path)
    graph, nodes = OnnxGraph(model.graph), model.graph.node
    ops = tuple(_summary(node, graph) for node in nodes)
    islands = _islands(nodes, ops, graph)
    regions = regions_of(_flow(*pair, islands, graph) for pair in zip(nodes, ops, strict=True))
    ops = tuple(replace(op, region=at) for op, at in zip(ops, regions, strict=True))
    products = products_of(nodes, ops, graph)
    return Inspection(
        path=path,
        format="onnx",
        bytes=path.stat().st_size,
        ops=ops,
        inputs=tuple(_spec(value) for value in graph.inputs()),
        outputs=tuple(_spec(value) for value in model.graph.output),
        float_islands=islands,
        true_scheme=scheme_of(ops),
        proven=products["proven"],
        overflowing=products["overflowing"],
        unproven=products["unproven"],
    )


def optimised_ops(path: Path) -> Counter[str]:
    """How many ops of each type onnxruntime's own optimised graph has, on the CPU of this machine.

    The file is opened in this process: give one that this toolchain has just written.

    Raises:
      ModelError: onnxruntime cannot open it.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(written)
        try:
            ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's classes share no base of their own
            raise damaged(path, error) from error
        return Counter(node.op_type for node in _parse(written).graph.node)


def _parse(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
        if not model.graph.node or not model.graph.output:
            raise ValueError("no graph")
        if len(model.graph.node) > MAX_NODES:
            raise ValueError(f"more nodes than a model has ({len(model.graph.node):,})")
    except (DecodeError, ValueError) as error:
        raise damaged(path, error) from error
    return model


def _refuse(model: Any, path: Path) -> None:
    """Refuse what reaches outside the file, or hides layers where `_summary` does not look."""
    require_one_file(path)
    if model.functions:
        raise ModelError("the file defines functions of its own", str(path), "export it inlined")
    for node in model.graph.node:
        if node.domain not in DOMAINS:
            raise ModelError(
                f"operator {node.domain[:60]}.{node.op_type[:60]} is a custom one, "
                f"node {node.name!r:.80}",
                str(path),
                "export the model with the operators of ONNX and onnxruntime alone",
            )
        if any(attribute.g.node or attribute.graphs for attribute in node.attribute):
            raise ModelError(
                f"operator {node.op_type[:60]} holds a graph of its own, which is not read",
                str(path),
                "export a classifier without control flow",
            )


def _summary(node: Any, graph: OnnxGraph) -> OpSummary:
    data, weight = _LAYERS.get(node.op_type, (2 if node.op_type == "QLinearConcat" else 0, None))
    inside, outside = dtype_into(graph, node, data), dtype_out_of(graph, node)
    weight = (_INTEGER_LAYERS | _DYNAMIC_LAYERS | {_PACKED: 1}).get(node.op_type, weight)
    if weight is not None and not _has_weights(node, weight, graph):
        weight = None
    weights = None if weight is None else graph.stored(node, weight)
    return OpSummary(
        name=node.op_type,
        output=node.output[0] if node.output else "",
        weights=weights,
        activation_in=inside,
        activation_out=outside,
        kind="" if weights is None else _kind(node, graph, weights, (inside, outside)),
        parameters=None if weight is None else graph.parameters(node, weight),
    )


def _has_weights(node: Any, position: int, graph: OnnxGraph) -> bool:
    """Whether what stands there is the same for all images; MatMul multiplies activations too."""
    return position >= len(node.input) or graph.is_constant(node.input[position])


def _kind(node: Any, graph: OnnxGraph, weights: str, around: tuple[str, str]) -> str:
    inside, outside = around
    if node.op_type in _INTEGER_LAYERS:
        return kind_of(weights, "uint8", "uint8")
    if node.op_type in _DYNAMIC_LAYERS:
        return "w8"
    if node.op_type == _PACKED:
        return f"w{next((one.i for one in node.attribute if one.name == 'bits'), 4)}"
    at_edge = node.op_type in DENSE and inside in INTEGERS and graph.ends_at(node, _EDGES)
    # onnxruntime's QGemm and MatMulIntegerToFloat give float results of integer arithmetic.
    kind = kind_of(weights, inside, inside if at_edge else outside)
    return "mixed" if kind == "int8" and not is_integer_layer(graph, node) else kind


def _flow(node: Any, op: OpSummary, islands: tuple[str, ...], graph: OnnxGraph) -> Flow:
    is_set_apart = op.name in _ROUNDING or graph.feeds_parameters(node)
    is_float = op.touches_floats() or op.output in islands
    return Flow(is_float and not is_set_apart, node.input, node.output)


def _islands(nodes: Any, ops: tuple[OpSummary, ...], graph: OnnxGraph) -> tuple[str, ...]:
    if not any(op.kind == "int8" for op in ops):
        return ()
    pairs = list(zip(nodes, ops, strict=True))
    integers = [node for node, op in pairs if op.kind == "int8" or _is_integer(node, op, graph)]
    done = {name for node in integers for name in (*node.output, *fused_with(graph, node))}
    return tuple(
        op.output for node, op in pairs if op.output not in done and _is_float(node, op, graph)
    )


def _is_integer(node: Any, op: OpSummary, graph: OnnxGraph) -> bool:
    return not op.kind and (node.op_type.startswith(INTEGER_OPS) or is_integer_op(graph, node))


def _is_float(node: Any, op: OpSummary, graph: OnnxGraph) -> bool:
    """Whether an op that is not known to compute in integers does so in float."""
    if op.name in _NO_ARITHMETIC or graph.feeds_parameters(node) or is_dropped(graph, node):
        return False
    if op.name in _EDGES and graph.ends_at(node, _EDGES):
        return False
    values = [name for name in node.input if not graph.is_constant(name)]
    return any(graph.dtype_of(name) in _FLOATS for name in (*values, *node.output) if name)


def _spec(value: Any) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(
        int(axis.dim_value) if axis.HasField("dim_value") else -1 for axis in tensor.shape.dim[:16]
    )
    return TensorSpec(value.name, shape, OnnxGraph.dtype_name(tensor.elem_type))
