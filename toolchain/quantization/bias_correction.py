"""Biases moved so that rounding leaves the mean of every channel where it was.

Rounded kernels and activations do not err to both sides alike: the errors of one channel have a
mean, and 53 layers add theirs up. Measured on photos of the train split, layer by layer behind the
layers before it that are corrected already, that mean can be taken off the bias at no cost in the
files: empirical bias correction (Nagel et al., Data-Free Quantization Through Weight Equalization
and Bias Correction, arXiv 1906.04721, section 4.2). `docs/quantization.md` has what it is worth.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from toolchain.quantization.fold import arguments, to_keras
from toolchain.quantization.graph import (
    IMAGE,
    WITH_WEIGHTS,
    Affine,
    Graph,
    Node,
    rounded_kernels,
)
from toolchain.quantization.shapes import output_shapes
from toolchain.terminal import track
from toolchain.training.batches import Examples
from toolchain.training.inference import Prepare, prepared
from toolchain.training.weights import Arrays

# 16 photos of 160 pixels did as well as 320 on MobileNetV2: each has thousands of places to average
# over. Small ones have few, and more of them fit.
_FEWEST_IMAGES: Final = 8
# Of a layer's input and output, each in float and rounded, for all photos at once.
_BYTES: Final = 2**30
_BATCH: Final = 32


def correction_images(graph: Graph) -> int:
    """How many photos fit into memory for `correct_biases`, 8 at least."""
    largest = max(4 * math.prod(shape) for shape in output_shapes(graph).values())
    return max(_BYTES // (4 * largest), _FEWEST_IMAGES)


def correct_biases(
    graph: Graph, ranges: dict[str, Affine], examples: Examples, prepare: Prepare
) -> Graph:
    """The graph with biases for its rounded kernels and activations, in float no longer the same.

    Args:
      graph: the folded float network.
      ranges: of its activations.
      examples: photos to measure on, `correction_images` of them, all in memory at once.
      prepare: what makes them the network's input.

    Returns:
      The same kernels; bias + mean over photos and places of (float output - rounded output).
    """
    arrays: Arrays = dict(graph.arrays)
    exact = to_keras(graph)
    rounded = to_keras(graph.with_arrays(graph.arrays | rounded_kernels(graph, ranges)))
    image = _image(examples, prepare)
    truth, found = {IMAGE: image}, {IMAGE: _round(image, ranges[IMAGE])}
    left = Counter(name for node in graph.nodes for name in node.inputs)
    for node in track(graph.nodes, "correcting biases"):
        one, other = _apply(exact, node, truth), _apply(rounded, node, found)
        if node.op in WITH_WEIGHTS:
            shift = _mean(one) - _mean(other)
            arrays[f"{node.name}/bias"] = (arrays[f"{node.name}/bias"] + shift).astype(np.float32)
            other += tf.constant(shift, tf.float32)
        truth[node.name], found[node.name] = one, _round(other, ranges.get(node.name))
        for name in node.inputs:
            left[name] -= 1
            if not left[name]:
                del truth[name], found[name]
    return graph.with_arrays(arrays)


def _image(examples: Examples, prepare: Prepare) -> Any:
    pixels = np.concatenate([np.array(batch) for batch, _ in examples.in_order(_BATCH)])
    return prepared(prepare, pixels)


def _apply(model: Any, node: Node, tensors: dict[str, Any]) -> Any:
    return model.get_layer(node.name)(arguments(node, tensors), training=False)


def _round(tensor: Any, point: Affine | None) -> Any:
    """In the steps of a range, and beyond its ends too.

    What a narrow range cuts off is a few large values. Raising all others for their mean ruins a
    network: VGG16 with ranges by percentile lost 1.3 points of validation accuracy to it.
    """
    return tensor if point is None else tf.floor(tensor / point.scale + 0.5) * point.scale


def _mean(tensor: Any) -> NDArray[np.float64]:
    """Of each channel, in float64 and one order: a run that goes on has to find the same."""
    values = tensor.numpy()
    return np.asarray(values.reshape(-1, values.shape[-1]).mean(axis=0, dtype=np.float64))
