"""Kernels that zip well: many zeros, or few different values; and training that leaves them so.

Pruning takes the weights of least magnitude of every kernel, more of them from step to step, as
tensorflow-model-optimization's PolynomialDecay does (arXiv 1710.01878). Clustering gives each
kernel so many values, the k-means of its weights, and trains those (arXiv 1510.00149). What
quantization-aware training then leaves equal, tensorflow-model-optimization calls PQAT and CQAT.

Nothing is remembered from step to step: a weight that was zero stays zero, and weights that were
equal stay equal. So training that was stopped goes on as unbroken training does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

# tfmot's PolynomialDecay: the share grows fast at first and slowly at the end.
_POWER: Final = 3
# Steps between two prunings, so that the network recovers; tfmot's own default is 100 of many more.
EVERY: Final = 8
_ROUNDS: Final = 50


def kernels_of(model: tf_keras.Model) -> list[Any]:
    """The kernels that are compressed: of convolutions and dense layers that are trained.

    Depthwise kernels are left alone, as tfmot does: they are few weights, and each counts.
    """
    kinds = (tf_keras.layers.Conv2D, tf_keras.layers.Dense)
    return [
        layer.kernel
        for layer in model.layers
        if isinstance(layer, kinds)
        and not isinstance(layer, tf_keras.layers.DepthwiseConv2D)
        and layer.trainable
    ]


@dataclass(frozen=True, slots=True)
class Ties:
    """What holds kernels [..., out] together while they are trained.

    Attributes:
      kernels: the variables.
      clustered: weights that are equal stay equal; without, only zeros stay zeros.
      by_channel: equal is asked for within an output channel, as it is once scales are folded in.
      sparsity: share of each kernel that pruning comes to; 0 prunes nothing.
      ramp: epochs that it takes.
    """

    kernels: Sequence[Any]
    clustered: bool = False
    by_channel: bool = False
    sparsity: float = 0.0
    ramp: int = 0

    def before(self) -> list[Any]:
        """The kernels that a step starts from."""
        return [tf.identity(kernel) for kernel in self.kernels]

    def after(self, before: Sequence[Any]) -> None:
        """Give back to each kernel what it had in common before the step."""
        for kernel, old in zip(self.kernels, before, strict=True):
            new = tf.convert_to_tensor(kernel)
            if self.clustered:
                new = _mean_of_equals(new, old, by_channel=self.by_channel)
            kernel.assign(tf.where(old == 0, tf.zeros_like(new), new))

    def prune(self, epochs_done: float) -> None:
        """Take the smallest weights, as many as there should be zeros by now."""
        share = self.share(epochs_done)
        for kernel in self.kernels:
            count = round(share * kernel.shape.num_elements())
            if count:
                sizes = tf.abs(kernel)
                most = tf.sort(tf.reshape(sizes, [-1]))[count - 1]
                kernel.assign(tf.where(sizes <= most, tf.zeros_like(sizes), kernel))

    def share(self, epochs_done: float) -> float:
        """Zeros that a kernel should have after so many epochs."""
        left = 1 - min(epochs_done / self.ramp, 1.0) if self.ramp else 0.0
        return self.sparsity * (1 - left**_POWER)

    def is_due(self, epoch: int, step: int) -> bool:
        """Whether this step prunes: now and then in the ramp, and once after it."""
        return self.sparsity > 0 and (
            step % EVERY == 0 if epoch <= self.ramp else epoch == self.ramp + 1 and step == 0
        )


def _mean_of_equals(new: Any, old: Any, *, by_channel: bool) -> Any:
    """Each weight becomes the mean of those that were equal to it."""
    keys = tf.cast(tf.bitcast(old, tf.int32), tf.int64)
    if by_channel:
        keys += tf.range(tf.cast(tf.shape(old)[-1], tf.int64)) * 2**32
    groups, which = tf.unique(tf.reshape(keys, [-1]))
    means = tf.math.unsorted_segment_mean(tf.reshape(new, [-1]), which, tf.size(groups))
    return tf.reshape(tf.gather(means, which), tf.shape(new))


def cluster(kernels: Sequence[Any], clusters: int) -> None:
    """Give each kernel at most so many values; zeros of a pruned one stay, as one of them."""
    for kernel in kernels:
        kernel.assign(clustered(kernel.numpy(), clusters))


def clustered(kernel: NDArray[np.float32], clusters: int) -> NDArray[np.float32]:
    """The kernel with its weights at their k-means: Lloyd's rounds from evenly spaced values.

    Where a tenth or more are zeros, zero is one of the values.
    """
    flat = np.sort(kernel.reshape(-1).astype(np.float64))
    keeps_zero = float((flat == 0).mean()) >= 0.1
    values = flat[flat != 0] if keeps_zero else flat
    if not len(values):
        return kernel
    sums = np.concatenate([[0.0], np.cumsum(values)])
    centres = np.linspace(values[0], values[-1], max(clusters - keeps_zero, 1))
    for _ in range(_ROUNDS):
        edges = np.searchsorted(values, (centres[1:] + centres[:-1]) / 2)
        bounds = np.concatenate([[0], edges, [len(values)]])
        counts = np.diff(bounds)
        means = np.diff(sums[bounds]) / np.maximum(counts, 1)
        moved = np.where(counts > 0, means, centres)
        if np.array_equal(moved, centres):
            break
        centres = moved
    nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, kernel.astype(np.float64))
    found = centres[nearest].astype(np.float32)
    return np.where(kernel == 0, np.float32(0), found) if keeps_zero else found


def described(kernels: Sequence[NDArray[Any]]) -> str:
    """Zeros and different values of kernels, in words."""
    zeros, weights = (sum(map(how, kernels)) for how in (_zeros, np.size))
    values = sorted(len(np.unique(kernel)) for kernel in kernels)
    return (
        f"{zeros / weights:.1%} of the weights of {len(kernels)} kernels are zero, "
        f"half of the kernels have at most {values[(len(values) - 1) // 2]:,} different values"
    )


def _zeros(kernel: NDArray[Any]) -> int:
    return int((kernel == 0).sum())
