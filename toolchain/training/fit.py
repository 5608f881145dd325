"""The training loop: epochs, validation, early stopping, the best weights kept.

One loop for the head and fine-tuning, on features or pixels, for training from scratch, pruning,
clustering and quantization-aware training; they differ in the model, the examples and the `Plan`.
After each epoch its state is kept (`checkpoint`), and a loop that was stopped goes on from there.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Sequence, Sized
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from toolchain.errors import InputError
from toolchain.overfitting import noticed
from toolchain.terminal import say, track
from toolchain.training.augment import mix
from toolchain.training.average import Average
from toolchain.training.batches import Examples
from toolchain.training.checkpoint import Checkpoint, Progress, assign, changing, values
from toolchain.training.compression import Ties
from toolchain.training.distribution import from_chief, own_part, own_seed
from toolchain.training.dropout import seeded
from toolchain.training.gradients import quick_gradients
from toolchain.training.inference import Inference, of_any_length
from toolchain.training.optimizer import optimizer_of, state_of
from toolchain.training.plan import Plan
from toolchain.training.rates import Slowed, rate_at, reductions
from toolchain.training.statistics import Quickened
from toolchain.training.tensors import lent
from toolchain.unfinished import Unfinished
from toolchain.values import EpochRecord


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a phase left.

    Attributes:
      history: one record an epoch.
      best: position of the record whose weights the model now has.
      warning: see `overfitting.noticed`; empty where nothing was noticed.
    """

    history: tuple[EpochRecord, ...]
    best: int
    warning: str = ""


def fit(
    model: tf_keras.Model,
    train: Examples,
    validation: Examples,
    plan: Plan,
    kept: Unfinished | None = None,
) -> Fitted:
    """Train `model` (it ends in logits) in place; it ends with the weights of its best epoch.

    Best is by `plan.best_by`, among those that `plan.never_below` leaves. What `kept` holds of
    this phase is not computed again: the weights are the same, bit for bit, as those of training
    that was never stopped on this machine.

    Raises:
      InputError: training diverged.
    """
    if done := finished(model, plan, validation, kept):
        return done
    checkpoint = Checkpoint(kept, plan.phase, plan.epochs)
    stepper = _Stepper(model, plan)
    weights, state = changing(model), stepper.state()
    progress = checkpoint.load(weights, state) or _start(stepper, validation)
    if progress.epoch:
        say(f"{plan.phase}: goes on after epoch {progress.epoch}")
    warning = noticed(progress.history, len(validation))
    while progress.epoch < plan.epochs and progress.waited < plan.patience:
        record = _trained(stepper, train, validation, progress)
        if not math.isfinite(record.validation_loss):
            raise _diverged(record, plan)
        progress.finished = record.epoch == plan.epochs or progress.waited >= plan.patience
        checkpoint.save(progress, state)
        # Told once it is kept: an epoch that was seen is never computed again.
        say(_line(record, plan, progress.waited == 0))
        if reductions(plan, progress.history) > reductions(plan, progress.history[:-1]):
            rate = rate_at(plan, float(record.epoch), progress.history)
            say(f"{plan.phase}: not getting better, learning rate {rate:.3g} from here on")
        if not warning and (warning := noticed(progress.history, len(validation))):
            say(f"warning: {warning}")
    if progress.waited >= plan.patience and progress.epoch < plan.epochs:
        say(f"{plan.phase}: no better epoch in {progress.waited}, stopping early")
    assign(weights, progress.weights)
    return Fitted(tuple(progress.history), progress.best, warning)


def _diverged(record: EpochRecord, plan: Plan) -> InputError:
    """What is told once weights are no numbers any more: no epoch after this one can be better."""
    return InputError(
        f"{plan.phase} diverged: expected a finite validation loss, received "
        f"{record.validation_loss} after epoch {record.epoch}",
        f"learning_rate {plan.learning_rate:g}",
        "lower the learning rate, or give warmup_epochs; epochs before this one are kept",
    )


def finished(
    model: tf_keras.Model, plan: Plan, validation: Sized, kept: Unfinished | None
) -> Fitted | None:
    """A phase that an earlier try finished; `model` has the weights of its best epoch then."""
    done = Checkpoint(kept, plan.phase, plan.epochs).finished(model)
    if done is None:
        return None
    return Fitted(tuple(done.history), done.best, noticed(done.history, len(validation)))


def _start(stepper: _Stepper, validation: Examples) -> Progress:
    """The state before the first step, measured where the plan asks for it."""
    progress, plan = Progress(weights=values(changing(stepper.model))), stepper.plan
    if plan.baseline:
        loss, accuracy = stepper.measure(validation)
        progress.history.append(
            EpochRecord(plan.phase, 0, loss, accuracy, loss, accuracy, 0.0, 0.0)
        )
        progress.best = 0
        say(f"{plan.phase} start: validation {accuracy:.2%}")
    return progress


def _trained(
    stepper: _Stepper, train: Examples, validation: Examples, progress: Progress
) -> EpochRecord:
    """One more epoch and what validation says of it, added to the progress."""
    plan, history, started = stepper.plan, progress.history, time.monotonic()
    epoch = progress.epoch + 1
    loss, accuracy = _epoch(stepper, train, plan, epoch, history)
    with stepper.averaged():
        record = EpochRecord(
            plan.phase,
            epoch,
            loss,
            accuracy,
            *stepper.measure(validation),
            learning_rate=rate_at(plan, float(epoch), history),
            seconds=round(time.monotonic() - started, 3),
        )
        if epoch >= plan.best_from and _is_better(record, progress, plan):
            progress.best, progress.weights = len(history), values(changing(stepper.model))
    history.append(record)
    return record


def _is_better(record: EpochRecord, progress: Progress, plan: Plan) -> bool:
    if progress.best < 0:
        return True
    start = progress.history[0].validation_accuracy
    if record.validation_accuracy < min(start, plan.never_below):
        return False
    return _score(record, plan) > _score(progress.history[progress.best], plan)


def _score(record: EpochRecord, plan: Plan) -> tuple[float, float]:
    accuracy = record.validation_accuracy if plan.best_by == "accuracy" else 0.0
    return accuracy, -record.validation_loss


def _line(record: EpochRecord, plan: Plan, is_best: bool) -> str:
    gap = record.accuracy - record.validation_accuracy
    return (
        f"{plan.phase} {record.epoch}/{plan.epochs}  loss {record.loss:.4f}  "
        f"train {record.accuracy:.2%}  validation {record.validation_accuracy:.2%}  "
        f"gap {100 * gap:+.1f}  {record.seconds:.1f} s{'  best' if is_best else ''}"
    )


def _epoch(
    stepper: _Stepper, train: Examples, plan: Plan, epoch: int, history: list[EpochRecord]
) -> tuple[float, float]:
    """One pass over the train split; its mean loss and accuracy, each batch's before its step."""
    steps = train.steps(plan.batch_size)
    loss, correct = tf.zeros([]), tf.zeros([])
    batches = train.shuffled(plan.batch_size, plan.seed, epoch)
    last = f", validation {history[-1].validation_accuracy:.2%}" if history else ""
    label = f"{plan.phase} {epoch}/{plan.epochs}{last}"
    for step, (inputs, labels) in enumerate(track(batches, label, total=steps)):
        rate = rate_at(plan, epoch - 1 + step / steps, history)
        stepper.prune(epoch, step, epoch - 1 + step / steps)
        seed = tf.constant([plan.seed, (epoch * 1_000_003 + step) % (2**31)], tf.int32)
        step_loss, step_correct = stepper(inputs, labels, seed, rate)
        loss += step_loss * len(labels)
        correct += step_correct
    return float(loss) / len(train), float(correct) / len(train)


class _Stepper:
    """One optimizer step, compiled once for a phase."""

    def __init__(self, model: tf_keras.Model, plan: Plan) -> None:
        self.model = model
        self.plan = plan
        self._devices = tf.distribute.get_strategy()
        self.inference = Inference(model, plan.prepare)
        self._teacher = Inference(plan.teacher, plan.prepare) if plan.teacher else None
        self._statistics = Quickened(model)
        # What changes a part of each step, in this order.
        self._keepers: list[Slowed | Ties | Quickened] = [
            Slowed(model, plan.depth_factor),
            self._statistics,
        ]
        if plan.ties is not None:
            self._keepers.append(plan.ties)
        self.average = Average(model, plan.ema) if plan.ema else None
        self.optimizer = optimizer_of(plan.optimizer, plan.learning_rate)
        self.optimizer.build(model.trainable_variables)
        self._prepare = tf.function(self._mixed, reduce_retracing=True, autograph=False)
        self._step = tf.function(self._compute, autograph=False, jit_compile=plan.xla)
        # Traced once: the last batch of an epoch, which is shorter, would have it traced again.
        self._traced: Any = None

    def __call__(self, inputs: NDArray[Any], labels: NDArray[Any], seed: Any, rate: float) -> Any:
        """Take a step; returns (mean loss, number of right answers) as tensors."""
        prepared, share = self._prepare(lent(inputs), seed)
        self.optimizer.learning_rate.assign(rate)
        arguments = (prepared, tf.constant(labels), share, seed)
        if self._traced is None:
            specs = (None if one is None else of_any_length(one) for one in arguments)
            with quick_gradients(self.model):
                self._traced = self._step.get_concrete_function(*specs)
        return self._traced(*arguments)

    def prune(self, epoch: int, step: int, epochs_done: float) -> None:
        """Take weights before a step, where the plan does so before this one."""
        ties = self.plan.ties
        if ties is not None and ties.is_due(epoch, step):
            ties.prune(epochs_done)
            if self.average is not None:
                self.average.forget_zeros(ties.kernels)

    def state(self) -> dict[str, list[Any]]:
        """Group -> variables: all that the next step depends on and this loop changes."""
        average = [] if self.average is None else self.average.variables
        return {
            "weights": changing(self.model),
            "optimizer": state_of(self.optimizer),
            "average": average,
            "statistics": self._statistics.variables,
        }

    def measure(self, examples: Examples) -> tuple[float, float]:
        """Loss, of labels and teacher as in training, and accuracy."""
        found = self.inference.evaluate(examples, self._teacher, self.plan.distillation)
        # Processors of other kinds round otherwise, and what is best is decided on every machine.
        return struct.unpack("2d", from_chief(struct.pack("2d", *found)))

    def averaged(self) -> AbstractContextManager[None]:
        """The model has the averaged weights inside, where they are asked for."""
        return self.average.in_place() if self.average is not None else nullcontext()

    def _mixed(self, inputs: Any, seed: Any) -> Any:
        """The model's input, and how much of it is each image itself; None where nothing is mixed.

        What `prepare` does to pixels at the end is affine, so mixing after it is mixing before it.
        """
        prepared = self.plan.prepare(tf.cast(inputs, tf.float32), seed, True)
        return mix(prepared, self.plan.mixup, seed) if self.plan.mixup else (prepared, None)

    def _compute(self, inputs: Any, labels: Any, share: Any, seed: Any) -> Any:
        """A step of all devices: (mean loss, number of right answers)."""
        before = [one.before() for one in self._keepers]
        found = self._devices.run(self._own_step, (inputs, labels, share, seed))
        for one, old in zip(self._keepers, before, strict=True):
            one.after(old)
        if self.average is not None:
            self.average.follow()
        return [self._devices.reduce(tf.distribute.ReduceOp.SUM, one, axis=None) for one in found]

    def _own_step(self, inputs: Any, labels: Any, share: Any, seed: Any) -> Any:
        """One device's part of it: its share of the mean loss, and its right answers."""
        number = tf.cast(tf.shape(labels)[0], tf.float32)
        partners = [] if share is None else [tf.reverse(labels, [0]), share]
        (inputs, labels, *mixed), counts = own_part([inputs, labels, *partners])
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape, seeded(own_seed(seed)):
            logits = tf.cast(self.model(inputs, training=True), tf.float32)
            loss = tf.reduce_sum(counts * self._losses(inputs, logits, labels, mixed)) / number
            loss += self._decay()
            scaled = self._scaled(loss)
        gradients = tape.gradient(scaled, variables)
        if isinstance(self.optimizer, tf_keras.mixed_precision.LossScaleOptimizer):
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        predicted = tf.argmax(logits, axis=1, output_type=labels.dtype)
        if mixed:
            others, share = mixed
            # Right is the class of which there is more.
            labels = tf.where(share >= 0.5, labels, others)
        return loss, tf.reduce_sum(counts * tf.cast(predicted == labels, tf.float32))

    def _scaled(self, loss: Any) -> Any:
        if isinstance(self.optimizer, tf_keras.mixed_precision.LossScaleOptimizer):
            return self.optimizer.get_scaled_loss(loss)
        return loss

    def _losses(self, inputs: Any, logits: Any, labels: Any, mixed: Sequence[Any]) -> Any:
        """Of each photo; a mixed one has its two labels in their shares."""
        each, weight = self._cross_entropy(logits, labels), self._weight(labels)
        losses = weight * each
        if mixed:
            others, share = mixed
            another = self._weight(others)
            losses = share * losses + (1 - share) * another * self._cross_entropy(logits, others)
            weight = share * weight + (1 - share) * another
        if self.plan.teacher is not None:
            taught = tf.nn.softmax(self.plan.teacher(inputs, training=False))
            asked = tf.nn.softmax_cross_entropy_with_logits(tf.stop_gradient(taught), logits)
            share = self.plan.distillation
            losses = (1 - share) * losses + share * weight * asked
        return losses

    def _weight(self, labels: Any) -> Any:
        if not self.plan.class_weights:
            return 1.0
        return tf.gather(tf.constant(self.plan.class_weights, tf.float32), labels)

    def _decay(self) -> Any:
        """This device's share of the L2 on kernels."""
        if not self.plan.weight_decay:
            return 0.0
        kernels = [v for v in self.model.trainable_variables if "kernel" in v.name]
        decay = sum(tf.nn.l2_loss(kernel) for kernel in kernels)
        return self.plan.weight_decay * decay / self._devices.num_replicas_in_sync

    def _cross_entropy(self, logits: Any, labels: Any) -> Any:
        smoothing = self.plan.label_smoothing
        if not smoothing:
            return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        count = logits.shape[-1]
        target = tf.one_hot(labels, count) * (1 - smoothing) + smoothing / count
        return tf.nn.softmax_cross_entropy_with_logits(target, logits)
