"""Batches: every row once, in an order that seed and epoch alone decide."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from toolchain.training.batches import Examples

COUNT, SPLIT = 100, 37
SECONDS_TO_STOP = 5.0


@pytest.fixture
def examples() -> Examples:
    """Rows 0, 2, 4, ... of an array whose row i holds i; labels are i * 10."""
    inputs = np.arange(COUNT, dtype=np.uint8)[:, None]
    return Examples(inputs, np.arange(COUNT) * 10, np.arange(0, 2 * SPLIT, 2))


def rows_of(batches) -> list[int]:
    found = []
    for inputs, labels in batches:
        assert np.array_equal(inputs[:, 0].astype(int) * 10, labels)
        found += inputs[:, 0].tolist()
    return found


@pytest.mark.parametrize("batch_size", [1, 8, 37, 64])
def test_every_row_once(examples: Examples, batch_size: int) -> None:
    assert rows_of(examples.in_order(batch_size)) == examples.rows.tolist()
    shuffled = rows_of(examples.shuffled(batch_size, 1, 1))
    assert sorted(shuffled) == examples.rows.tolist()
    assert shuffled != examples.rows.tolist()


@pytest.mark.parametrize("batch_size", [1, 8, 37, 64])
def test_the_number_of_steps_is_that_of_the_batches(examples: Examples, batch_size: int) -> None:
    assert examples.steps(batch_size) == len(list(examples.in_order(batch_size)))
    assert len(examples) == SPLIT


def test_the_order_depends_on_seed_and_epoch_alone(examples: Examples) -> None:
    order = rows_of(examples.shuffled(8, seed=1, epoch=1))
    np.random.default_rng().random()
    assert rows_of(examples.shuffled(8, seed=1, epoch=1)) == order
    assert rows_of(examples.shuffled(5, seed=1, epoch=1)) == order
    assert rows_of(examples.shuffled(8, seed=1, epoch=2)) != order
    assert rows_of(examples.shuffled(8, seed=2, epoch=1)) != order


class _Torn:
    """Inputs whose disk fails at the third batch."""

    shape = (COUNT, 1)

    def __init__(self) -> None:
        self.reads = 0

    def __getitem__(self, rows):
        self.reads += 1
        if self.reads == 3:
            raise OSError("the disk is gone")
        return np.zeros((len(rows), 1))


def test_an_error_of_the_reader_reaches_the_caller() -> None:
    examples = Examples(_Torn(), np.zeros(COUNT, np.int64), np.arange(COUNT))
    seen = 0
    with pytest.raises(OSError, match="the disk is gone"):
        for _ in examples.in_order(10):
            seen += 1
    assert seen == 2


def test_stopping_early_leaves_no_reader_behind(examples: Examples) -> None:
    before = threading.active_count()
    batches = examples.shuffled(2, 1, 1)
    next(batches)
    batches.close()
    deadline = time.monotonic() + SECONDS_TO_STOP
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threading.active_count() == before
