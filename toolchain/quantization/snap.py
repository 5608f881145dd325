"""Weights where every format stores the same integers of them. Plain numpy.

A bias lies on the grid of its int32. A kernel keeps its float values, from which its scales follow,
but for those that lie between two integers so closely that it takes chance to tell which is nearer:
TensorFlow's simulation, the TFLite converter and numpy round a few of each million otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toolchain.quantization.graph import (
    Affine,
    Graph,
    Node,
    along,
    channel_axis,
    input_range,
    scales_of,
)

# What float32 makes of weight / scale, up to 254 in the simulation, is 3e-5 off. Half of what
# `graph.OFF_TIES` keeps the two halves of a channel's largest pair away from such a place.
_TIE: Final = 2.0**-13
# A weight that is moved may be the one that sets its scale, which moves all others by a millionth.
_ROUNDS: Final = 8


def snap(graph: Graph, ranges: Mapping[str, Affine]) -> Graph:
    """The graph with every bias on its grid, and no weight of a kernel halfway between integers.

    Both move by less than float32 simulation is off anyway: a bias by half of a step of its int32
    at most, a weight by 1 / 8,000 of a step of its int8.
    """
    for node in graph.integer_layers():
        for _ in range(_ROUNDS):
            kernel = _off_ties(graph, ranges, node)
            if np.array_equal(kernel, graph.arrays[f"{node.name}/kernel"]):
                break
            graph = graph.with_arrays(graph.arrays | {f"{node.name}/kernel": kernel})
        steps = bias_steps(graph, ranges, node)
        bias = _whole(graph.arrays[f"{node.name}/bias"], steps) * steps
        changed = {f"{node.name}/bias": bias.astype(np.float32)}
        graph = graph.with_arrays(graph.arrays | changed)
    return graph


def bias_steps(graph: Graph, ranges: Mapping[str, Affine], node: Node) -> NDArray[np.float64]:
    """What 1 of a layer's int32 sums stands for: input scale * kernel scale, float64 [out]."""
    return np.float64(input_range(graph, ranges, node).scale) * scales_of(graph, ranges, node)


def stored_bias(graph: Graph, ranges: Mapping[str, Affine], node: Node) -> NDArray[np.int32]:
    """The integers of a layer's bias: int32 [out]."""
    return _whole(graph.arrays[f"{node.name}/bias"], bias_steps(graph, ranges, node))


def _whole(bias: NDArray[np.float32], steps: NDArray[np.float64]) -> NDArray[np.int32]:
    limit = 2**31 - 1
    return np.clip(np.round(bias.astype(np.float64) / steps), -limit, limit).astype(np.int32)


def _off_ties(graph: Graph, ranges: Mapping[str, Affine], node: Node) -> NDArray[np.float32]:
    """A kernel whose weights near n + 1/2 of their steps moved away, to the side they round to."""
    kernel = graph.arrays[f"{node.name}/kernel"]
    scales = along(scales_of(graph, ranges, node), kernel.ndim, channel_axis(node))
    steps = kernel.astype(np.float64) / scales
    halves = np.floor(steps) + 0.5
    side = np.where(np.round(steps) > halves, _TIE, -_TIE)
    moved = ((halves + side) * scales).astype(np.float32)
    return np.where(np.abs(steps - halves) < _TIE, moved, kernel)
