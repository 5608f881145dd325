"""One range an activation tensor, from real training images through the float network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from toolchain.images.preprocess import Preprocessing
from toolchain.quantization.fold import to_keras
from toolchain.quantization.graph import IMAGE, Affine, Graph, affine, input_affine, range_points
from toolchain.terminal import track
from toolchain.training.batches import Examples

_BATCH = 32


def calibration_examples(train: Examples, count: int, seed: int) -> Examples:
    """`count` rows of the train split, drawn from the seed alone."""
    order = np.random.default_rng((seed, 0)).permutation(train.rows)
    return Examples(train.inputs, train.labels, np.sort(order[:count]))


def calibrate(
    graph: Graph,
    examples: Examples,
    prepare: Callable[[Any, Any, bool], Any],
    preprocessing: Preprocessing,
) -> dict[str, Affine]:
    """Lowest and highest value of every point of `graph.range_points` over the examples.

    The input's range is not measured: it follows from the preprocessing.
    """
    model = to_keras(graph)
    names = [name for name in range_points(graph) if name != IMAGE]
    probe = tf_keras.Model(model.input, [model.get_layer(name).output for name in names])

    @tf.function(reduce_retracing=True, autograph=False)
    def extremes(pixels: Any) -> Any:
        image = prepare(tf.cast(pixels, tf.float32), tf.zeros([2], tf.int32), False)
        outputs = probe(image, training=False)
        lows = tf.stack([tf.reduce_min(tensor) for tensor in outputs])
        return lows, tf.stack([tf.reduce_max(tensor) for tensor in outputs])

    batches = track(examples.in_order(_BATCH), "calibrating", total=examples.steps(_BATCH))
    found = [extremes(tf.constant(pixels)) for pixels, _ in batches]
    low = np.min([lows.numpy() for lows, _ in found], axis=0)
    high = np.max([highs.numpy() for _, highs in found], axis=0)
    ranges = {IMAGE: input_affine(preprocessing.mean, preprocessing.std)}
    ranges |= {name: affine(low[i], high[i]) for i, name in enumerate(names)}
    return ranges
