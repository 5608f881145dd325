"""Batches of numpy in TensorFlow's hands without another copy."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from numpy.typing import NDArray

from toolchain.images.stored import ALIGNED


def lent(array: NDArray[Any]) -> Any:
    """A batch as a tensor of its shape and dtype, on the same memory where that can be.

    `tf.constant` copies an array twice: 2.5 MB of 32 photos took 0.3 ms, as long as reading them.
    The array must not be written to afterwards.
    """
    flags, aligned = array.flags, array.ctypes.data % ALIGNED == 0
    if aligned and flags.writeable and flags.c_contiguous:
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.constant(array)
