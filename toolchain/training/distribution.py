"""Several devices and several machines: a copy of the network on each, every batch shared out.

A step on many devices is the step on one, up to the order in which sums are added: batches are
drawn, augmented and mixed before they are shared out, gradients are added up, and statistics of
BatchNormalization are those of the whole batch (and of a few of its photos once more, where it
does not divide by the devices). Each machine runs the same command, computes features for itself,
and decides by what the first one found on validation photos.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from toolchain.training.workers import VARIABLE, Workers

_WORD: Final = np.dtype(np.int32)


@functools.cache
def strategy() -> Any:
    """How training is distributed here; in its scope networks are built and trained.

    Workers of TF_CONFIG if it is set, else every GPU, else every logical processor device, of which
    there is one unless somebody asked for more. It must be asked for before anything is computed.

    Raises:
      MachineError: TF_CONFIG cannot be used, or a worker that it names does not answer.
    """
    if told := os.environ.get(VARIABLE):
        Workers.of(told).wait()
        return tf.distribute.MultiWorkerMirroredStrategy()
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) > 1:
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()


def described() -> str:
    """The copies of the network, in words; empty where there is one."""
    used = strategy()
    if used.num_replicas_in_sync == 1:
        return ""
    if os.environ.get(VARIABLE):
        resolver = used.cluster_resolver
        workers = resolver.cluster_spec().num_tasks("worker")
        return f"worker {resolver.task_id} of {workers}, {used.num_replicas_in_sync} devices in all"
    return f"{used.num_replicas_in_sync} devices, a copy of the network on each"


def is_distributed() -> bool:
    """Whether what is built now is copied to several devices."""
    return bool(tf.distribute.get_strategy().num_replicas_in_sync > 1)


def own_part(tensors: Sequence[Any]) -> tuple[list[Any], Any]:
    """Inside a step: this device's rows of tensors [n, ...], and which of them count.

    Parts are of one length. Where n is no multiple of it the first rows are there once more; such
    rows have the weight 0, others 1, float32 [rows].
    """
    context = tf.distribute.get_replica_context()
    return _part(tensors, context.replica_id_in_sync_group, context.num_replicas_in_sync)


def own_seed(seed: Any) -> Any:
    """Inside a step: a seed int32 [2] of this device's own; the first one's is `seed`."""
    index = tf.distribute.get_replica_context().replica_id_in_sync_group
    return seed + tf.stack([tf.cast(index, tf.int32) * 7_919, 0])


def _part(tensors: Sequence[Any], index: Any, count: int) -> tuple[list[Any], Any]:
    length = tf.shape(tensors[0])[0]
    if count == 1:
        return list(tensors), tf.ones([length])
    each = (length + count - 1) // count
    rows = index * each + tf.range(each)
    return [tf.gather(one, rows % length) for one in tensors], tf.cast(rows < length, tf.float32)


def spread(function: Callable[[Any], Any], batch: Any) -> Any:
    """`function(batch)`, each of this machine's devices computing a part of the rows.

    Machines do not wait for each other here: one may have features that another still computes.
    """
    used = tf.distribute.get_strategy()
    if used.num_replicas_in_sync == 1:
        return function(batch)
    count = len(used.extended.worker_devices)

    def part() -> Any:
        index = tf.distribute.get_replica_context().replica_id_in_sync_group % count
        (own,), _ = _part([batch], index, count)
        return function(own)

    parts = used.experimental_local_results(used.run(part))
    return tf.concat(parts, 0)[: tf.shape(batch)[0]]


def has_chief() -> bool:
    """Whether several machines train together, of which the first decides."""
    return isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy)


def from_chief(data: bytes) -> bytes:
    """The bytes that the first machine calls this with, on every machine; alone, `data` itself."""
    if not has_chief():
        return data
    used = tf.distribute.get_strategy()
    length = int(_first(used, np.asarray([len(data)], _WORD))[0])
    words = np.zeros(-(-length // _WORD.itemsize), _WORD)
    own = np.frombuffer(data[:length], np.uint8)
    words.view(np.uint8)[: len(own)] = own
    return _first(used, words).tobytes()[:length] if length else b""


def _first(used: Any, words: NDArray[np.int32]) -> NDArray[np.int32]:
    """What the first device of all has in `words`: everyone else adds zeros."""

    @tf.function(autograph=False)
    def summed(given: Any) -> Any:
        def own() -> Any:
            context = tf.distribute.get_replica_context()
            is_first = tf.cast(context.replica_id_in_sync_group == 0, tf.int32)
            return context.all_reduce(tf.distribute.ReduceOp.SUM, given * is_first)

        return used.run(own)

    found = used.experimental_local_results(summed(tf.constant(words)))[0]
    return np.asarray(found, _WORD)
