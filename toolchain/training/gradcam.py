"""Grad-CAM: which places of a photo spoke for a class.

map = ReLU(sum_k w_k A_k), w_k = mean over places of d logit / d A_k, A the output of one layer
(Selvaraju et al., "Grad-CAM", 2017).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from toolchain.training.head import LOGITS
from toolchain.training.inference import Prepare, prepared
from toolchain.training.network import POOL

# The deepest layer says most, but of a 48-pixel photo it keeps 2 x 2 places, which show nothing.
_LEAST_SIDE: Final = 4


def class_activation_maps(
    network: tf_keras.Model,
    prepare: Prepare,
    pixels: NDArray[np.uint8],
    classes: NDArray[np.int64],
) -> tuple[NDArray[np.float32], str]:
    """One map a photo, for the class given with it.

    Args:
      network: ends in logits.
      prepare: pixels -> the network's input.
      pixels: uint8 [k, size, size, 3], a few photos.
      classes: int64 [k].

    Returns:
      float32 [k, h, w] in 0..1, each map's maximum 1 (or all 0 where nothing speaks for the
      class), and the name of the layer that was weighed.
    """
    layer = explained_layer(network)
    both = tf_keras.Model(network.input, [layer.output, network.get_layer(LOGITS).output])
    inputs = prepared(prepare, pixels)
    with tf.GradientTape() as tape:
        maps, logits = both(inputs, training=False)
        wanted = tf.gather(logits, classes, axis=1, batch_dims=1)
    weights = tf.reduce_mean(tape.gradient(wanted, maps), axis=(1, 2), keepdims=True)
    found = tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1)).numpy().astype(np.float32)
    peak = found.max(axis=(1, 2), keepdims=True)
    return found / np.where(peak > 0, peak, 1), layer.name


def explained_layer(network: tf_keras.Model) -> tf_keras.layers.Layer:
    """The deepest layer before the head that still tells places apart; no pooling layer."""
    names = [layer.name for layer in network.layers]
    before = [
        layer
        for layer in network.layers[1 : names.index(POOL)]
        if not isinstance(layer, tf_keras.layers.MaxPooling2D)
    ]
    fine = [layer for layer in before if layer.output.shape[1] >= _LEAST_SIDE]
    return fine[-1] if fine else before[-1]
