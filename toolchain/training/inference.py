"""A model asked, not trained: logits, loss and accuracy in inference mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from toolchain.terminal import track
from toolchain.training.batches import Examples
from toolchain.training.tensors import lent

BATCH = 64

# float32 batch as stored, int32 [2] seed, training -> the model's input.
Prepare = Callable[[Any, Any, bool], Any]


def of_any_length(batch: Any) -> Any:
    """The signature of batches like this tensor or array [n, ...]: no other length is traced."""
    return tf.TensorSpec([None, *batch.shape[1:]], batch.dtype)


class Inference:
    """A model that ends in logits, compiled once: tracing one takes longer than a small epoch."""

    def __init__(self, model: tf_keras.Model, prepare: Prepare) -> None:
        def forward(inputs: Any, seed: Any, changing: bool) -> Any:
            prepared = prepare(tf.cast(inputs, tf.float32), seed, changing)
            return tf.cast(model(prepared, training=False), tf.float32)

        self.model = model
        self._forward = tf.function(forward, autograph=False)

    def logits(
        self, examples: Examples, label: str = "", seed: int = 0, view: int | None = None
    ) -> NDArray[np.float32]:
        """The output on every row: float32 [count, outputs]; `label` names a progress bar.

        With a `view` photos are augmented as in training, the model still infers; what is changed
        is drawn from `seed`, `view` and the batch.
        """
        batches = examples.in_order(BATCH)
        if label:
            batches = track(batches, label, total=examples.steps(BATCH))
        forward = self._forward.get_concrete_function(
            of_any_length(examples.inputs), tf.TensorSpec([2], tf.int32), view is not None
        )
        first = (view or 0) * examples.steps(BATCH)
        return np.concatenate(
            [
                forward(lent(one), tf.constant([seed, first + step], tf.int32)).numpy()
                for step, (one, _) in enumerate(batches)
            ]
        )

    def evaluate(self, examples: Examples) -> tuple[float, float]:
        """Mean cross-entropy and top-1 accuracy (0..1)."""
        logits, labels = self.logits(examples), examples.labels[examples.rows]
        peak = logits.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(logits - peak).sum(axis=1)) + peak[:, 0]
        loss = (log_sum - logits[np.arange(len(labels)), labels]).mean()
        return float(loss), float((logits.argmax(axis=1) == labels).mean())
