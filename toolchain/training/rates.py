"""Learning rates: over the steps of a phase, and from block to block of a network.

A rate follows from the plan, the step and the history alone, so that training which goes on after
a stop has the same rates as training that was never stopped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Final

import tensorflow as tf
import tf_keras

from toolchain.training.plan import Plan
from toolchain.values import EpochRecord

# A layer that names no block belongs to the one before it.
_BLOCK: Final = re.compile(r"block_?\d+|expanded_conv|Conv_?1")
_HEAD: Final = re.compile(r"head_|logits")


def rate_at(plan: Plan, epochs_done: float, history: Sequence[EpochRecord]) -> float:
    """The rate of a step: linear warm-up, then the schedule.

    Args:
      plan: of the phase.
      epochs_done: before the step, with the part of the running epoch.
      history: the records of the epochs before this one.
    """
    if epochs_done < plan.warmup_epochs:
        return plan.learning_rate * min((epochs_done + 1e-3) / plan.warmup_epochs, 1.0)
    if plan.schedule == "plateau":
        return plan.learning_rate * plan.plateau_factor ** reductions(plan, history)
    if plan.schedule == "constant":
        return plan.learning_rate
    # A cosine to zero (arXiv 1608.03983).
    length = max(plan.epochs - plan.warmup_epochs, 1e-9)
    share = min((epochs_done - plan.warmup_epochs) / length, 1.0)
    return plan.learning_rate * 0.5 * (1.0 + math.cos(math.pi * share))


def reductions(plan: Plan, history: Sequence[EpochRecord]) -> int:
    """How often a plateau has lowered the rate: the epochs are counted anew after each time."""
    if plan.schedule != "plateau":
        return 0
    best, waited, count = math.inf, 0, 0
    for record in history:
        if record.validation_loss < best:
            best, waited = record.validation_loss, 0
        else:
            waited += 1
        if waited == plan.plateau_epochs:
            waited, count = 0, count + 1
    return count


def layer_factors(model: tf_keras.Model, depth_factor: float) -> dict[str, float]:
    """Layer -> what its rate is multiplied by (arXiv 1801.06146, section 3.2).

    The head has 1, the last block of the backbone `depth_factor`, the block before it the square
    of that, and so on; layers outside of numbered blocks count as blocks of their own.
    """
    depths, block, depth = {}, "head", 0
    for layer in reversed(model.layers):
        found = _BLOCK.search(layer.name)
        if not _HEAD.match(layer.name) and found and found.group() != block:
            block, depth = found.group(), depth + 1
        depths[layer.name] = depth
    return {name: depth_factor**depth for name, depth in depths.items()}


class Slowed:
    """Takes back a part of each step of the variables whose rate is lower than the others'.

    Scaling a step is what scaling the rate is, for any optimizer; scaling gradients is not: Adam
    divides by their size.
    """

    def __init__(self, model: tf_keras.Model, depth_factor: float) -> None:
        factors = layer_factors(model, depth_factor) if depth_factor != 1.0 else {}
        self._pairs = [
            (variable, factors[layer.name])
            for layer in model.layers
            for variable in layer.trainable_weights
            if factors.get(layer.name, 1.0) != 1.0
        ]

    def before(self) -> list[Any]:
        """The values that the step starts from."""
        return [tf.identity(variable) for variable, _ in self._pairs]

    def after(self, before: list[Any]) -> None:
        """Leave each variable its share of the step."""
        for (variable, factor), old in zip(self._pairs, before, strict=True):
            variable.assign(old + factor * (variable - old))
