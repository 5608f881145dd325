"""What compression left in the kernels, kept through quantization-aware training (PQAT, CQAT).

Folding scales each output channel as a whole: zeros stay zeros, and weights of a channel that were
equal stay equal. (BatchNormalization behind an activation scales rows; with clusters the recipe
refuses it.)
"""

from __future__ import annotations

from typing import Final

import tf_keras

from toolchain.quantization.graph import Affine, Graph, Node, stored_kernel
from toolchain.quantization.qat import kernel_variables
from toolchain.recipe.sections import CompressSection
from toolchain.training.compression import Ties, described

_COMPRESSED: Final = ("conv", "dense")


def ties_of(model: tf_keras.Model, graph: Graph, asked: CompressSection) -> Ties | None:
    """What a step of QAT must leave as it is; None where nothing was compressed."""
    if not (nodes := _compressed(graph, asked)):
        return None
    found = kernel_variables(model)
    kernels = [found[node.name] for node in nodes]
    return Ties(kernels, clustered=asked.clusters > 0, by_channel=True)


def compressed(graph: Graph, ranges: dict[str, Affine], asked: CompressSection) -> str:
    """What is left of it in the integers of int8 files, in words; empty where none was asked."""
    nodes = [node for node in _compressed(graph, asked) if not node.is_float]
    integers = [stored_kernel(graph, ranges, node) for node in nodes]
    return f"compressed integers: {described(integers)}" if integers else ""


def _compressed(graph: Graph, asked: CompressSection) -> list[Node]:
    """The layers whose kernels were compressed; none where nothing was asked for."""
    if not asked.sparsity and not asked.clusters:
        return []
    return [node for node in graph.nodes if node.op in _COMPRESSED]
