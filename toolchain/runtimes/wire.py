"""Messages between the parent and the child that runs a file: JSON headers and raw arrays.

    4 bytes   length of the header, big endian
    header    JSON object; "arrays" lists [dtype, shape] of what follows
    arrays    their bytes, one after the other, C order

No pickle: what comes back from a child that opened a foreign file is data, never code.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

Message = tuple[dict[str, Any], list[NDArray[Any]]]
DTYPES: Final = ("uint8", "int8", "float32", "int64")
MAX_HEADER: Final = 16 * 1024 * 1024
MAX_ARRAY: Final = 1024**3
_LENGTH: Final = struct.Struct(">I")


class WireError(Exception):
    """The other side sent something that is not a message, or stopped in the middle of one."""


def send(stream: IO[bytes], header: dict[str, Any], arrays: Sequence[NDArray[Any]] = ()) -> None:
    """Write one message and flush it."""
    listed = [[array.dtype.name, list(array.shape)] for array in arrays]
    text = json.dumps({**header, "arrays": listed}).encode()
    stream.write(_LENGTH.pack(len(text)))
    stream.write(text)
    for array in arrays:
        stream.write(np.ascontiguousarray(array).data)
    stream.flush()


def receive(stream: IO[bytes]) -> Message:
    """Read one message.

    Raises:
      EOFError: the other side has closed the stream between two messages.
      WireError: what came is not a message within the limits.
    """
    first = stream.read(_LENGTH.size)
    if not first:
        raise EOFError
    if len(first) < _LENGTH.size:
        raise WireError("a message stopped in its length")
    (length,) = _LENGTH.unpack(first)
    if length > MAX_HEADER:
        raise WireError(f"a header of {length:,} bytes")
    try:
        header = json.loads(_exactly(stream, length))
        listed = header.pop("arrays")
        return header, [_array(stream, str(dtype), tuple(shape)) for dtype, shape in listed]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WireError(f"{type(error).__name__}: {error}") from error


def _array(stream: IO[bytes], dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    if dtype not in DTYPES or not all(type(axis) is int and axis >= 0 for axis in shape):
        raise WireError(f"an array {dtype[:40]} {shape!r:.80}")
    count = math.prod(shape) * np.dtype(dtype).itemsize
    if count > MAX_ARRAY:
        raise WireError(f"an array of {count:,} bytes")
    return np.frombuffer(_exactly(stream, count), dtype=dtype).reshape(shape)


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise WireError(f"expected {count:,} bytes, received {len(data):,}")
    return data
