"""Optimizers by the recipe's name, and what they remember from step to step."""

from __future__ import annotations

from typing import Any

import tf_keras


def optimizer_of(name: str, learning_rate: float) -> Any:
    """The optimizer "adam" or "sgd"; with float16, one that scales the loss."""
    if name == "sgd":
        inner = tf_keras.optimizers.SGD(
            learning_rate, momentum=0.9, nesterov=True, jit_compile=False
        )
    else:
        inner = tf_keras.optimizers.Adam(learning_rate, jit_compile=False)
    if tf_keras.mixed_precision.global_policy().name == "mixed_float16":
        return tf_keras.mixed_precision.LossScaleOptimizer(inner)
    return inner


def state_of(optimizer: Any) -> list[Any]:
    """Slots and counters of an optimizer, and its loss scale, which Keras counts apart."""
    found = list(optimizer.variables)
    if isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer):
        found += [optimizer.dynamic_counter, optimizer._loss_scale.current_loss_scale]
    return found
