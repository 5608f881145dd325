"""An average of the weights that training passes through: steadier than any of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf
import tf_keras

from toolchain.training.checkpoint import assign, changing


class Average:
    """The moving average of a model's weights (Polyak's, as in arXiv 1512.00567 section 8).

    It takes in statistics of BatchNormalization as well, and leaves out frozen layers. The first
    steps count more, as in tf.train.ExponentialMovingAverage: what the weights were at random is
    soon forgotten.
    """

    def __init__(self, model: tf_keras.Model, decay: float) -> None:
        self._decay = decay
        self._weights = [w for w in changing(model) if w.dtype.is_floating]
        self._averages = [tf.Variable(w, trainable=False) for w in self._weights]
        self._steps = tf.Variable(0.0, trainable=False)

    @property
    def variables(self) -> list[Any]:
        """The averages, and how many steps they have seen."""
        return [*self._averages, self._steps]

    def follow(self) -> None:
        """Move towards the weights as they are after a step."""
        steps = self._steps.assign_add(1.0)
        share = 1.0 - tf.minimum(self._decay, (1.0 + steps) / (10.0 + steps))
        for average, weight in zip(self._averages, self._weights, strict=True):
            average.assign_sub(tf.cast(share, weight.dtype) * (average - weight))

    def forget_zeros(self, kernels: Sequence[Any]) -> None:
        """Be zero where one of these weights is: what was pruned has no past."""
        pruned = {id(kernel) for kernel in kernels}
        for average, weight in zip(self._averages, self._weights, strict=True):
            if id(weight) in pruned:
                average.assign(tf.where(weight == 0, tf.zeros_like(average), average))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model's weights are the averages; training goes on with its own afterwards."""
        own = [tf.identity(weight) for weight in self._weights]
        assign(self._weights, self._averages)
        try:
            yield
        finally:
            assign(self._weights, own)
