"""Dropout whose choice follows from the seed of a step.

Keras draws it from a generator's hidden state, which no checkpoint holds: training that goes on
after a stop would drop other units than unbroken training.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import tensorflow as tf
from tf_keras import layers

_seed: Final[ContextVar[Any]] = ContextVar("seed", default=None)


@contextmanager
def seeded(seed: Any) -> Iterator[None]:
    """Models called inside, with training=True, drop what follows from `seed`, int32 [2].

    The function that calls the model must be the one that enters this: replicas of a distributed
    step run in threads of their own.
    """
    token = _seed.set(seed)
    try:
        yield
    finally:
        _seed.reset(token)


class Dropout(layers.Dropout):
    """Keras' Dropout; inside `seeded` the same units for the same seed, others in each layer."""

    def call(self, inputs: Any, training: Any = None) -> Any:
        """A tensor of any shape; what is kept is scaled by 1 / (1 - rate)."""
        seed = _seed.get()
        if seed is None or training is not True:
            return super().call(inputs, training)
        own = tf.stack([seed[0] + zlib.crc32(self.name.encode()) % 2**30, seed[1]])
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, own)
