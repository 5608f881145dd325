"""Batches in an order that depends on seed and epoch alone, read one step ahead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.images.stored import PixelReader, StoredRows

Batch = tuple[NDArray[Any], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows of an array with their labels.

    Attributes:
      inputs: pixels [count, size, size, 3] or features float32 [count, ...], read batch by batch;
        or an array of either.
      labels: int64 [count].
      rows: int64 positions in both that belong to this split.
    """

    inputs: NDArray[Any] | PixelReader | StoredRows
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def steps(self, batch_size: int) -> int:
        """Batches an epoch; the last may be smaller."""
        return -(-len(self.rows) // batch_size)

    def shuffled(self, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """Every row once, in an order drawn from (seed, epoch)."""
        order = np.random.default_rng((seed, epoch)).permutation(self.rows)
        return _ahead(self._batches(order, batch_size))

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Every row once, in ascending order."""
        return _ahead(self._batches(self.rows, batch_size))

    def _batches(self, order: NDArray[np.int64], batch_size: int) -> Iterator[Batch]:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield self.inputs[rows], self.labels[rows]


def _ahead(batches: Iterator[Batch], depth: int = 2) -> Iterator[Batch]:
    """Read `depth` batches in a thread while the caller computes."""
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(value: Batch | BaseException | None) -> None:
        while not stop.is_set():
            try:
                ready.put(value, timeout=0.1)
                return
            except queue.Full:
                continue

    def produce() -> None:
        try:
            for batch in batches:
                put(batch)
                if stop.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    threading.Thread(target=produce, daemon=True).start()
    try:
        while (batch := ready.get()) is not None:
            if isinstance(batch, BaseException):
                raise batch
            yield batch
    finally:
        stop.set()
