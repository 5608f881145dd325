"""Files that cannot be read: a photo among others stops nothing, a list or a table does."""

from __future__ import annotations

from typing import Final

from toolchain.errors import DataError, reason
from toolchain.images.decode import SUFFIXES, Unreadable

_PHOTOS: Final = tuple(SUFFIXES)


def unread(name: str, where: str, error: Exception) -> Unreadable:
    """What stands for the bytes of a photo that cannot be read, so that it is told as a bad one.

    Args:
      name: of the file in its container.
      where: what to call it in an error.
      error: what reading it raised.

    Raises:
      DataError: it is no photo.
    """
    why = reason(error)
    if name.lower().endswith(_PHOTOS):
        return Unreadable(why)
    raise DataError(f"the file cannot be read: {why}", where, "allow reading it") from error
