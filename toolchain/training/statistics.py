"""Statistics of BatchNormalization that were never measured catch up within a few steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras


class Quickened:
    """Makes the first steps count more in moving statistics that begin as mean 0 and variance 1.

    They are then the mean of all steps so far, until a step counts as much as the layer's momentum
    says. With 0.9 alone, a third of what they began with is left after ten steps, which is all that
    some small sets are trained for: with 96 photos, three steps an epoch, validation saw 33.5 %
    where the same weights with the statistics of the batch had 74.5 %.
    """

    def __init__(self, model: tf_keras.Model) -> None:
        layers = [one for one in model.layers if _is_unmeasured(one)]
        self._pairs = [
            (variable, 1.0 - float(layer.momentum))
            for layer in layers
            for variable in (layer.moving_mean, layer.moving_variance)
        ]
        self._steps = tf.Variable(0.0, trainable=False)

    @property
    def variables(self) -> list[Any]:
        """How many steps the statistics have seen."""
        return [self._steps]

    def before(self) -> list[Any]:
        """The values that the step starts from."""
        return [tf.identity(variable) for variable, _ in self._pairs]

    def after(self, before: list[Any]) -> None:
        """Move as far as the step's share in the mean, where the layer moved by its own."""
        steps = self._steps.assign_add(1.0)
        for (variable, own), old in zip(self._pairs, before, strict=True):
            share = tf.maximum(1.0 / steps, own)
            variable.assign(old + share / own * (variable - old))


def _is_unmeasured(layer: Any) -> bool:
    if not isinstance(layer, tf_keras.layers.BatchNormalization) or not layer.trainable:
        return False
    mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    return not np.any(mean) and bool(np.all(variance == 1))
