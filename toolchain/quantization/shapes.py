"""The shape of every output of a graph. Plain arithmetic."""

from __future__ import annotations

import math

from toolchain.quantization.graph import IMAGE, WITH_WEIGHTS, Graph, Node, channel_axis

Shape = tuple[int, ...]


def output_shapes(graph: Graph) -> dict[str, Shape]:
    """Name -> (height, width, channels), or (features,) after pooling; the image included."""
    shapes: dict[str, Shape] = {IMAGE: (graph.size, graph.size, 3)}
    for node in graph.nodes:
        shapes[node.name] = _shape(graph, node, shapes[node.inputs[0]])
    return shapes


def output_side(size: int, window: int, node: Node) -> int:
    """How many places a window has along a side, as tf.nn's documentation says ("padding")."""
    if node.padding == "same":
        return -(-size // node.stride)
    return (size - window) // node.stride + 1


def _shape(graph: Graph, node: Node, given: Shape) -> Shape:
    if node.op == "dense":
        return graph.arrays[f"{node.name}/kernel"].shape[1:]
    if node.op in WITH_WEIGHTS:
        kernel = graph.arrays[f"{node.name}/kernel"].shape
        sides = (output_side(given[axis], kernel[axis], node) for axis in (0, 1))
        return (*sides, kernel[channel_axis(node)])
    if node.op == "max_pool":
        return (*(output_side(side, node.stride, node) for side in given[:2]), given[2])
    if node.op in ("mean", "max"):
        return given[-1:]
    return (math.prod(given),) if node.op == "flatten" else given
