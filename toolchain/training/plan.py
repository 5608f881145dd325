"""What a phase of training is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import tf_keras

from toolchain.training.compression import Ties
from toolchain.training.inference import Prepare


@dataclass(frozen=True, slots=True)
class Plan:
    """How a phase trains; fields as in the recipe's [train] section.

    Attributes:
      phase: name in the history.
      prepare: float32 batch as stored, int32 [2] seed, training -> the model's input.
      class_weights: factor of each class's photos in the loss of training; empty: all count alike.
        Validation weighs nothing.
      schedule: of the rate after its warm-up: "constant", "cosine" to zero over the epochs, or
        "plateau": times `plateau_factor` whenever `plateau_epochs` in a row brought no better
        validation loss.
      depth_factor: how the rates of a backbone's blocks follow from each other, see
        `rates.layer_factors`; 1 leaves them alike.
      mixup: alpha of `augment.mix`; 0 leaves it out.
      best_by: validation "loss", or "accuracy" and then loss. On the 394 validation photos of
        cats-vs-dogs accuracy chose the first epoch of a head; a small split has few accuracies.
      ties: what of the kernels a step must leave as it is; None: nothing.
      best_from: the first epoch that may be the best one; before it, weights are not final in form.
      teacher: a model of the same input, whose answers are part of the loss; it is not trained.
      ema: decay of an exponential moving average of the weights, which is what validation measures
        and what is kept; 0 leaves it out.
      distillation: share of the loss that is the cross-entropy with the teacher's answers instead
        of with the labels (arXiv 1503.02531, at temperature 1).
      baseline: whether the state before the first step is measured and may win (epoch 0).
      never_below: an accuracy (0..1); an epoch that is less accurate on validation than both this
        and that start cannot win, however small its loss.
    """

    phase: str
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    prepare: Prepare
    optimizer: str = "adam"
    schedule: str = "constant"
    warmup_epochs: float = 0.0
    plateau_factor: float = 0.2
    plateau_epochs: int = 2
    depth_factor: float = 1.0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()
    mixup: float = 0.0
    patience: int = 10_000
    xla: bool = False
    ema: float = 0.0
    best_by: Literal["loss", "accuracy"] = "loss"
    baseline: bool = False
    never_below: float = 0.0
    ties: Ties | None = None
    best_from: int = 0
    teacher: tf_keras.Model | None = None
    distillation: float = 0.0
