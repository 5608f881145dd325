"""Many photos of one size as an array that never lies in memory as a whole."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

Rows = slice | NDArray[np.int64]
# Pages of a file that is mapped count as the process's memory until they are given back. Giving
# back after every 8 MiB bounds them: reading 307 MB left 310 MB resident without, 0 MB with; it
# costs 57,000 instead of 90,000 photos/s of 160 x 160.
_GIVE_BACK: Final = 8 * 2**20


class PixelReader:
    """Photos in a fixed order, read when they are asked for: uint8 RGB [count, size, size, 3].

    Indexed as an ndarray is, with a position, a slice or an int64 array of positions; every answer
    is a new array.
    """

    dtype: Final = np.dtype(np.uint8)

    def __init__(self, count: int, size: int) -> None:
        self.shape = (count, size, size, 3)

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The photos at `rows` (0 to count - 1) as a new array, uint8 [n, size, size, 3]."""
        raise NotImplementedError

    def view(self, rows: NDArray[np.int64]) -> PixelReader:
        """Only these photos, read when they are asked for."""
        return _View(self, rows)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | Rows) -> NDArray[np.uint8]:
        if isinstance(index, slice):
            return self.read(np.arange(*index.indices(len(self)), dtype=np.int64))
        rows = np.asarray(index, dtype=np.int64)
        photos = self.read(np.atleast_1d(rows))
        return photos if rows.ndim else photos[0]

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return (self[index] for index in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All photos in memory, for numpy's functions; `copy` is always made."""
        return self[:].astype(dtype or self.dtype, copy=False)


# What takes photos takes an array of them too.
Pixels = PixelReader | NDArray[np.uint8]


class _View(PixelReader):
    def __init__(self, base: PixelReader, rows: NDArray[np.int64]) -> None:
        super().__init__(len(rows), base.shape[1])
        self._base, self._rows = base, rows

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self._base.read(self._rows[rows])


class StoredPixels(PixelReader):
    """Photos in a .npy file, memory-mapped read-only; pages are given back after use."""

    def __init__(self, path: Path, rows: NDArray[np.int64] | None = None) -> None:
        """Map the file.

        Args:
          path: a .npy of uint8 [n, size, size, 3].
          rows: where each photo lies in it; None takes all in their order.

        Raises:
          ValueError: another kind of array, or one shorter than its header says.
          OSError: the file cannot be read.
        """
        with path.open("rb") as file:
            shape, dtype = _header(file)
            if dtype != self.dtype or len(shape) != 4:
                raise ValueError(f"expected uint8 pixels and no Python objects, received {dtype}")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            flat = np.frombuffer(self._map, np.uint8, offset=file.tell())
        self._stored: NDArray[np.uint8] = flat[: np.prod(shape)].reshape(shape)
        self._rows = rows
        self._since = 0
        super().__init__(shape[0] if rows is None else len(rows), shape[1])

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """See `PixelReader.read`."""
        photos = self._stored[rows if self._rows is None else self._rows[rows]]
        self._since += photos.nbytes
        if self._since > _GIVE_BACK:
            self._since = 0
            with contextlib.suppress(AttributeError, OSError):  # not on every system
                self._map.madvise(mmap.MADV_DONTNEED)
        return photos


def _header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"expected a .npy of version 1.0, received {version}")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    return shape, dtype


def write_header(path: Path, count: int, size: int) -> int:
    """Make a .npy of `count` photos, all zero and taking no room yet; returns where they start."""
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        file.truncate(start + count * size * size * 3)
    return start
