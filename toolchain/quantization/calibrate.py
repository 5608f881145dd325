"""One range an activation tensor, from real training images through the float network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from toolchain.images.preprocess import Preprocessing
from toolchain.quantization.fold import to_keras
from toolchain.quantization.graph import (
    IMAGE,
    Affine,
    Graph,
    input_affine,
    loadable,
    range_points,
)
from toolchain.quantization.ranges import BINS, Histogram, choose_range, logits_range
from toolchain.terminal import track, working
from toolchain.training.batches import Examples
from toolchain.training.inference import Prepare, prepared
from toolchain.training.tensors import lent

_BATCH = 32


def calibrate(
    graph: Graph,
    examples: Examples,
    prepare: Prepare,
    preprocessing: Preprocessing,
    method: str,
) -> dict[str, Affine]:
    """The quantization of every point of `graph.range_points`, from its values on the examples.

    The input's is not measured: it follows from the preprocessing. `method` is one of
    `ranges.choose_range`; those that weigh values take a second look at the images. The logits
    have a way of their own, see `ranges.logits_range`, unless only float operations write them.
    """
    model = to_keras(graph)
    names = [name for name in range_points(graph) if name != IMAGE]
    tensors = [model.get_layer(name).output for name in names]
    probe = tf_keras.Model(model.input, [*tensors, model.output])

    def outputs(pixels: Any) -> list[Any]:
        image = prepared(prepare, pixels)
        return tf.nest.flatten(probe(image, training=False))

    low, high, logits = _extremes(outputs, examples)
    counts, zeros = np.zeros((len(names), BINS), np.int64), np.zeros(len(names), np.int64)
    if method != "minmax":
        counts, zeros = _counts(outputs, examples, low, high)
    seen = map(Histogram, low.tolist(), high.tolist(), counts, zeros.tolist())
    ranges = dict(zip(names, (choose_range(one, method) for one in seen), strict=True))
    if (last := graph.nodes[-1].name) in ranges:
        with working("weighing logits"):
            ranges[last] = logits_range(logits)
    image = input_affine(preprocessing.mean, preprocessing.std)
    return loadable(graph, {IMAGE: image, **ranges})


def _extremes(
    outputs: Callable[[Any], list[Any]], examples: Examples
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Lowest and highest value of each tensor, float32 [tensors] each, and the logits.

    `outputs` gives the tensors and the logits after them; those are float32 [images, classes].
    """

    @tf.function(reduce_retracing=True, autograph=False)
    def extremes(pixels: Any) -> Any:
        *tensors, logits = outputs(pixels)
        lows = tf.stack([tf.reduce_min(tensor) for tensor in tensors])
        return lows, tf.stack([tf.reduce_max(tensor) for tensor in tensors]), logits

    batches = track(examples.in_order(_BATCH), "calibrating", total=examples.steps(_BATCH))
    found = [extremes(lent(pixels)) for pixels, _ in batches]
    lows, highs, logits = ([one.numpy() for one in part] for part in zip(*found, strict=True))
    return np.min(lows, axis=0), np.max(highs, axis=0), np.concatenate(logits)


def _above(value: float) -> float:
    return value + 1e-6 * max(1.0, abs(value))


def _counts(
    outputs: Callable[[Any], list[Any]],
    examples: Examples,
    low: NDArray[np.float32],
    high: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Histograms of each tensor between its extremes, int64 [tensors, BINS], and its zeros."""

    @tf.function(reduce_retracing=True, autograph=False)
    def histograms(pixels: Any) -> Any:
        tensors = outputs(pixels)[:-1]
        ends = zip(low.tolist(), high.tolist(), strict=True)
        counts = [
            # A tensor that is always the same still needs a step, which float32 can tell.
            tf.histogram_fixed_width(tensor, [lowest, max(highest, _above(lowest))], BINS)
            for tensor, (lowest, highest) in zip(tensors, ends, strict=True)
        ]
        others = [tf.math.count_nonzero(tensor) for tensor in tensors]
        return tf.stack(counts), tf.stack(others)

    batches = track(examples.in_order(_BATCH), "weighing ranges", total=examples.steps(_BATCH))
    total, others = np.zeros((len(low), BINS), np.int64), np.zeros(len(low), np.int64)
    for pixels, _ in batches:
        found = histograms(lent(pixels))
        total += found[0].numpy()
        others += found[1].numpy()
    return total, total.sum(axis=1) - others
