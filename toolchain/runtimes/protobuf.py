"""Walks over the fields of a protobuf message without unpacking it.

As https://protobuf.dev/programming-guides/encoding/ lays them out. Plain Python: what a damaged or
evil file can do here is to raise.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_VARINT, _BYTES, _FIXED = 0, 2, {1: 8, 5: 4}
_MAX_TAG: Final = 1 << 32


@contextlib.contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    """The bytes of a file, which are not read before they are looked at."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def fields(data: mmap.mmap, place: range) -> Iterator[tuple[int, int | range]]:
    """Number and value of a message's fields; of text, bytes and messages where they lie.

    Raises:
      ValueError: it is no message.
    """
    at = place.start
    while at < place.stop:
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = _varint(data, at)
        else:
            length = _FIXED.get(kind, len(data))
        if tag >= _MAX_TAG or length > place.stop - at:
            raise ValueError(f"no field at byte {at}")
        yield number, range(at, at + length)
        at += length


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    """A number of up to ten bytes and where it ends."""
    value = 0
    for place in range(10):
        byte = data[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError(f"no number at byte {at}")
