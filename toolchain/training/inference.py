"""A model asked, not trained: logits, loss and accuracy in inference mode."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from toolchain.terminal import track
from toolchain.training.batches import Examples
from toolchain.training.distribution import spread
from toolchain.training.logarithms import log_softmax
from toolchain.training.tensors import lent

BATCH = 64

# float32 batch as stored, int32 [2] seed, training -> the model's input.
Prepare = Callable[[Any, Any, bool], Any]


def prepared(prepare: Prepare, pixels: Any) -> Any:
    """Photos as the model reads them outside training: nothing is drawn, so any seed will do."""
    return prepare(tf.cast(pixels, tf.float32), tf.zeros([2], tf.int32), False)


def of_any_length(batch: Any) -> Any:
    """The signature of batches like this tensor or array [n, ...]: no other length is traced."""
    return tf.TensorSpec([None, *batch.shape[1:]], batch.dtype)


class Inference:
    """A model that ends in logits, compiled once: tracing one takes longer than a small epoch."""

    def __init__(self, model: tf_keras.Model, prepare: Prepare) -> None:
        def forward(inputs: Any, seed: Any, changing: bool) -> Any:
            ready = prepare(tf.cast(inputs, tf.float32), seed, changing)
            return tf.cast(spread(partial(model, training=False), ready), tf.float32)

        self.model = model
        self._forward = tf.function(forward, autograph=False)

    def logits(self, examples: Examples, label: str = "") -> NDArray[np.float32]:
        """The output on every row: float32 [count, outputs]; `label` names a progress bar."""
        return np.concatenate(list(self.outputs(examples, label)))

    def outputs(
        self,
        examples: Examples,
        label: str = "",
        *,
        seed: int = 0,
        view: int | None = None,
        first: int = 0,
    ) -> Iterator[NDArray[np.float32]]:
        """The output of one batch after the other, float32 [BATCH or fewer, ...].

        With a `view` photos are augmented as in training, the model still infers; what is changed
        is drawn from `seed`, `view` and the batch. `first` batches are left out.
        """
        steps = examples.steps(BATCH)
        batches = replace(examples, rows=examples.rows[first * BATCH :]).in_order(BATCH)
        if label:
            batches = track(batches, label, total=steps - first)
        forward = self._forward.get_concrete_function(
            of_any_length(examples.inputs), tf.TensorSpec([2], tf.int32), view is not None
        )
        for step, (inputs, _) in enumerate(batches, start=(view or 0) * steps + first):
            yield forward(lent(inputs), tf.constant([seed, step], tf.int32)).numpy()

    def evaluate(
        self, examples: Examples, teacher: Inference | None = None, share: float = 0.0
    ) -> tuple[float, float]:
        """Mean loss and top-1 accuracy (0..1).

        Args:
          examples: what to ask about.
          teacher: a model whose answers are asked for beside the labels.
          share: of the cross-entropy with them in the loss; the rest is that with the labels.
        """
        labels, at = examples.labels[examples.rows], 0
        losses, right = np.empty(len(labels), np.float32), 0
        taught = teacher.outputs(examples) if teacher else itertools.repeat(None)
        for logits, answers in zip(self.outputs(examples), taught, strict=False):
            here = slice(at, at := at + len(logits))
            logs = log_softmax(logits)
            losses[here] = -logs[np.arange(len(logs)), labels[here]]
            if answers is not None:
                asked = -(np.exp(log_softmax(answers)) * logs).sum(axis=1)
                losses[here] = (1 - share) * losses[here] + share * asked
            right += int((logits.argmax(axis=1) == labels[here]).sum())
        return float(losses.mean()), right / len(labels)
