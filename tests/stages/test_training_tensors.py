"""Batches lent to TensorFlow: the same numbers, whatever lies under them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from toolchain.images.stored import StoredPixels, write_header
from toolchain.training.tensors import lent


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
@pytest.mark.parametrize("offset", [0, 1, 3])
def test_a_tensor_of_the_same_numbers(dtype, offset: int) -> None:
    # An offset moves the numbers off every alignment that TensorFlow may ask for.
    array = np.arange(5 * 7 * 3 + offset).astype(dtype)[offset:].reshape(5, 7, 3)
    tensor = lent(array)
    assert tensor.dtype == dtype
    np.testing.assert_array_equal(tf.cast(tensor, tf.float32).numpy(), array.astype(np.float32))


def test_photos_are_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "pixels.npy"
    write_header(path, count=8, size=64)
    array = StoredPixels(path)[:]
    tensor = lent(array)
    array[2, 3, 4, 1] = 7
    assert int(tensor[2, 3, 4, 1]) == 7


def test_what_cannot_be_lent_is_copied() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    array.flags.writeable = False
    assert lent(array).numpy().tolist() == array.tolist()
    assert lent(array.T).numpy().tolist() == array.T.tolist()


def test_the_numbers_outlive_the_array() -> None:
    tensors = [lent(np.full((32, 32, 32, 3), number, np.uint8)) for number in range(20)]
    assert [int(tensor[31, 31, 31, 2]) for tensor in tensors] == list(range(20))
