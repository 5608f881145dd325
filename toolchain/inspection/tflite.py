"""Reads a .tflite file: which ops, in which dtypes, with which weights."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Final

from toolchain.inspection.flatbuffer import DAMAGE, Graph, Op, read_graphs
from toolchain.inspection.kinds import kind_of
from toolchain.inspection.regions import Flow, regions_of
from toolchain.inspection.scheme import Inspection, OpSummary, scheme_of
from toolchain.runtimes.carried import damaged

# Op -> positions of its data and of its weights among its inputs.
_LAYERS: Final = {
    "CONV_2D": (0, 1),
    "DEPTHWISE_CONV_2D": (0, 1),
    "FULLY_CONNECTED": (0, 1),
    "CONV_3D": (0, 1),
    "BATCH_MATMUL": (0, 1),
    "TRANSPOSE_CONV": (2, 1),
}
_ROUNDING: Final = frozenset({"QUANTIZE", "DEQUANTIZE"})
_EDGES: Final = _ROUNDING | {"SOFTMAX", "LOGISTIC"}
# These move numbers and compute none.
_LAYOUT: Final = frozenset({"RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS"})


def read_tflite(path: Path) -> Inspection:
    """What a .tflite file holds; all its subgraphs count.

    Raises:
      ModelError: the FlatBuffer is damaged.
    """
    try:
        graphs = read_graphs(path.read_bytes())
        ops = tuple(op for graph in graphs for op in _summaries(graph))
        first = graphs[0]
        inputs = tuple(first.tensors[i].spec for i in first.inputs)
        outputs = tuple(first.tensors[i].spec for i in first.outputs)
    except DAMAGE as error:
        raise damaged(path, error) from error
    return Inspection(
        path=path,
        format="tflite",
        bytes=path.stat().st_size,
        ops=ops,
        inputs=inputs,
        outputs=outputs,
        float_islands=_islands(ops),
        true_scheme=scheme_of(ops),
    )


def _summaries(graph: Graph) -> list[OpSummary]:
    producers = {index: op for op in graph.ops for index in op.outputs}
    ops = [_summary(op, graph, producers) for op in graph.ops]
    flows = (
        Flow(op.touches_floats() and op.name not in _ROUNDING, one.inputs, one.outputs)
        for one, op in zip(graph.ops, ops, strict=True)
    )
    return [replace(op, region=at) for op, at in zip(ops, regions_of(flows), strict=True)]


def _summary(op: Op, graph: Graph, producers: dict[int, Op]) -> OpSummary:
    data, weight = _LAYERS.get(op.name, (0, None))
    inside = _dtype(graph, op.inputs, data)
    outside = _dtype(graph, op.outputs, 0)
    weights = None if weight is None else _weights(graph, op.inputs[weight], producers)
    return OpSummary(
        name=op.name,
        output=graph.tensors[op.outputs[0]].spec.name if op.outputs else "",
        weights=weights,
        activation_in=inside,
        activation_out=outside,
        kind="" if weights is None else kind_of(weights, inside, outside),
        parameters=None if weight is None else _count(graph, op.inputs[weight]),
    )


def _dtype(graph: Graph, indices: tuple[int, ...], position: int) -> str:
    if position >= len(indices) or indices[position] < 0:
        return ""
    return graph.tensors[indices[position]].spec.dtype


def _weights(graph: Graph, index: int, producers: dict[int, Op]) -> str:
    """The dtype that weights are stored in: float16 files dequantize them in the graph."""
    producer = producers.get(index)
    if producer is not None and producer.name == "DEQUANTIZE":
        source = graph.tensors[producer.inputs[0]]
        if source.constant:
            return source.spec.dtype
    return graph.tensors[index].spec.dtype


def _count(graph: Graph, index: int) -> int | None:
    """How many numbers a tensor holds; None where its shape is not fixed."""
    shape = graph.tensors[index].spec.shape
    return math.prod(shape) if all(axis >= 0 for axis in shape) else None


def _islands(ops: tuple[OpSummary, ...]) -> tuple[str, ...]:
    if not any(op.kind == "int8" for op in ops):
        return ()
    return tuple(
        op.output
        for op in ops
        if op.name not in _EDGES | _LAYOUT and "float32" in (op.activation_in, op.activation_out)
    )
