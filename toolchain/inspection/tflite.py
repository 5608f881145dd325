"""Reads a .tflite file: which ops, in which dtypes, with which weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    # Of a recurrent layer the weights that it never lacks.
    "LSTM": (0, 2),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (0, 2),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (0, 2),
    **dict.fromkeys(("RNN", "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN"), (0, 1)),
    "SVDF": (0, 1),
}
# These multiply activations with each other as well, and have no weights then.
_PRODUCTS: Final = frozenset({"BATCH_MATMUL", "FULLY_CONNECTED"})
_ROUNDING: Final = frozenset({"QUANTIZE", "DEQUANTIZE"})
_EDGES: Final = _ROUNDING | {"SOFTMAX", "LOG_SOFTMAX", "LOGISTIC", "TOPK_V2", "ARG_MAX"}
# These move numbers and compute none.
_LAYOUT: Final = frozenset({"RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS"})
_UNPACKING: Final = frozenset({"DEQUANTIZE", "DENSIFY"})
# These read no values.
_SHAPES: Final = frozenset({"SHAPE", "RANK"})


def read_tflite(path: Path) -> Inspection:
    """What a .tflite file holds; all its subgraphs count.

    Raises:
      ModelError: the FlatBuffer is damaged.
    """
    try:
        graphs = read_graphs(path.read_bytes())
        found = [_summaries(graph) for graph in graphs]
        ops = tuple(op for of_graph in found for op in of_graph)
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
        float_islands=_islands(graphs, found),
        true_scheme=scheme_of(ops),
    )


def _summaries(graph: Graph) -> list[OpSummary]:
    producers = {index: op for op in graph.ops for index in op.outputs}
    depending = _depending(graph)
    ops = [_summary(op, graph, producers, depending) for op in graph.ops]
    flows = (
        Flow(_is_float(one, op, graph) and op.name not in _ROUNDING, one.inputs, one.outputs)
        for one, op in zip(graph.ops, ops, strict=True)
    )
    return [replace(op, region=at) for op, at in zip(ops, regions_of(flows), strict=True)]


def _summary(op: Op, graph: Graph, producers: dict[int, Op], depending: set[int]) -> OpSummary:
    data, weight = _LAYERS.get(op.name, (0, None))
    if weight is not None and op.inputs[weight] in (depending if op.name in _PRODUCTS else {-1}):
        weight = None
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
    if producer is not None and producer.name in _UNPACKING:
        source = graph.tensors[producer.inputs[0]]
        if source.constant:
            return source.spec.dtype
    return graph.tensors[index].spec.dtype


def _depending(graph: Graph) -> set[int]:
    """The tensors that are not the same for all images; ops come in the order they are run in."""
    found = set(graph.inputs)
    for op in graph.ops:
        if found.intersection(op.inputs):
            found |= set(op.outputs)
    return found | {-1}


def _count(graph: Graph, index: int) -> int | None:
    """How many numbers a tensor holds; None where its shape is not fixed."""
    shape = graph.tensors[index].spec.shape
    return math.prod(shape) if all(axis >= 0 for axis in shape) else None


def _islands(graphs: Sequence[Graph], found: Sequence[list[OpSummary]]) -> tuple[str, ...]:
    """Ops that touch a float tensor and are neither at the edges nor layers of integers."""
    if not any(op.kind == "int8" for ops in found for op in ops):
        return ()
    return tuple(
        op.output
        for graph, ops in zip(graphs, found, strict=True)
        for before in [_before_the_end(graph)]
        for one, op in zip(graph.ops, ops, strict=True)
        if op.name not in _ROUNDING | _LAYOUT | _SHAPES
        and _is_float(one, op, graph)
        and (op.name not in _EDGES or before.intersection(one.outputs))
    )


def _is_float(op: Op, summary: OpSummary, graph: Graph) -> bool:
    """Whether an op computes in float: TFLite's kernels are chosen by the types of its tensors."""
    if summary.kind:
        return summary.touches_floats()
    places = [place for place in (*op.inputs, *op.outputs) if place >= 0]
    return any(graph.tensors[place].spec.dtype == "float32" for place in places)


def _before_the_end(graph: Graph) -> set[int]:
    """The tensors behind which something else than layout and edges follows."""
    found: set[int] = set()
    for op in reversed(graph.ops):
        if op.name not in _EDGES | _LAYOUT or found.intersection(op.outputs):
            found |= set(op.inputs)
    return found
