"""The head: what stands on the backbone, from the vector of features to one logit a label.

Whatever the recipe's `output`, the network ends in logits whose softmax is its answer, so that
losses, measures, exporters and quantization know one kind of output.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tf_keras import layers

from toolchain.recipe.sections import HeadSection
from toolchain.training.distribution import is_distributed
from toolchain.training.dropout import Dropout

LOGITS: Final = "logits"
SCORES: Final = "head_scores"
# Heads see hundreds of steps, not the 100,000 that Keras' 0.99 is meant for: statistics that lag
# behind would let validation measure another network.
_MOMENTUM: Final = 0.9


class OneLogit(layers.Dense):
    """A binary classifier's single score z [batch, 1], told as the logits [-z/2, z/2].

    Their softmax is [1 - sigmoid(z), sigmoid(z)] and its cross-entropy the binary one.
    """

    def call(self, inputs: Any) -> Any:
        """Features float32 [batch, in] -> float32 [batch, 2]."""
        half = 0.5 * super().call(inputs)
        return tf.concat([-half, half], axis=-1)

    def as_two(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Kernel [in, 2] and bias [2] of the dense layer that computes the same."""
        kernel, bias = 0.5 * self.kernel.numpy(), 0.5 * self.bias.numpy()
        return np.concatenate([-kernel, kernel], axis=1), np.concatenate([-bias, bias])


class LogSigmoid(layers.Layer):
    """log sigmoid(z) for each of many scores z, of any shape.

    The softmax of these is sigmoid(z) divided by the sum over classes, and its cross-entropy what
    Keras computes for sigmoids with categorical_crossentropy, which divides by that sum too.
    """

    def call(self, inputs: Any) -> Any:
        """min(z, 0) - log(1 + exp(-|z|)): cannot overflow, and TFLite has all of it built in."""
        return tf.minimum(inputs, 0.0) - tf.math.log(1.0 + tf.exp(-tf.abs(inputs)))


def build_on(vector: Any, head: HeadSection, classes: int) -> Any:
    """The head's layers on `vector` float32 [batch, features]; returns logits [batch, classes].

    Layers: `head_dropout_i`, `head_dense_i`, `head_dense_i_bn`, `head_dense_i_relu` (or `_relu6`)
    for each hidden layer, then `head_dropout`, for sigmoids `head_scores`, and `logits`.
    """
    x, shares = vector, dropout_shares(head)
    for index, units in enumerate(head.dense, start=1):
        name = f"head_dense_{index}"
        x = _dropped(x, shares[index - 1], f"head_dropout_{index}")
        x = layers.Dense(units, name=name)(x)
        if head.batch_norm == "before":
            x = _normalised(x, name)
        if head.activation != "linear":
            most = 6.0 if head.activation == "relu6" else None
            x = layers.ReLU(most, name=f"{name}_{head.activation}")(x)
        if head.batch_norm == "after":
            x = _normalised(x, name)
    return _output(_dropped(x, shares[-1], "head_dropout"), head.output, classes)


def dropout_shares(head: HeadSection) -> tuple[float, ...]:
    """The share dropped before each hidden layer, and before the output."""
    if isinstance(head.dropout, tuple):
        return head.dropout
    return (head.dropout,) * (len(head.dense) + 1)


def _dropped(x: Any, share: float, name: str) -> Any:
    return Dropout(share, name=name)(x) if share else x


def _normalised(x: Any, name: str) -> Any:
    return layers.BatchNormalization(
        momentum=_MOMENTUM, synchronized=is_distributed(), name=f"{name}_bn"
    )(x)


def _output(x: Any, output: str, classes: int) -> Any:
    # Logits stay float32 under mixed precision: a float16 softmax loses the small classes.
    if output == "logit":
        return OneLogit(1, name=LOGITS, dtype="float32")(x)
    if output == "sigmoid":
        scores = layers.Dense(classes, name=SCORES, dtype="float32")(x)
        return LogSigmoid(name=LOGITS, dtype="float32")(scores)
    return layers.Dense(classes, name=LOGITS, dtype="float32")(x)
