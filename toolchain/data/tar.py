"""Tars of strangers, read front to back: what they unpack to is bounded, whatever they claim."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, NoReturn, cast

# DEFLATE cannot exceed about 1032:1, and photos do not shrink at all: a member, or a whole archive,
# that claims more than this ratio is a bomb.
MAX_RATIO: Final = 100
# Below this size a ratio says nothing: a few photos of one colour shrink as well.
SMALL: Final = 64 * 1024
# Long names and the like stand in members of their own, which tarfile reads into memory before
# anyone sees them. PATH_MAX is 4096.
_MAX_EXTENSION: Final = 64 * 1024
_EXTENSIONS: Final = frozenset(
    {
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
    }
)
_BLOCK: Final = 1 << 16


class PlainMember(tarfile.TarInfo):
    """A member of a tar; headers that take memory as they please are refused.

    Raises:
      tarfile.ReadError: an extension of more than 64 KiB, or a sparse file, whose map has no bound.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> PlainMember:
        """The member of a header's 512 bytes."""
        member = super().frombuf(buf, encoding, errors)
        if member.type in _EXTENSIONS and member.size > _MAX_EXTENSION:
            raise tarfile.ReadError(f"an extended header has {member.size:,} bytes")
        if member.type == tarfile.GNUTYPE_SPARSE:
            _refuse_sparse()
        return member

    def _proc_gnusparse_10(self, *_: object) -> NoReturn:
        # tarfile's own method, for sparse files that are regular ones by their type.
        _refuse_sparse()


def _refuse_sparse() -> NoReturn:
    raise tarfile.ReadError("it has a sparse file")


class Tar(tarfile.TarFile):
    """A tar whose members are looked at once, in their order."""

    tarinfo = PlainMember
    members: list[tarfile.TarInfo]

    def forward(self) -> Iterator[tarfile.TarInfo]:
        """Every member; none is kept for going back, which would take 444 bytes each."""
        while (member := self.next()) is not None:
            self.members.clear()
            yield member


@contextlib.contextmanager
def open_tar(path: Path) -> Iterator[Tar]:
    """A tar, compressed or not, whose members come in their order.

    Raises:
      tarfile.ReadError: see `PlainMember`, or it unpacks to more than 100 times its size.
      OSError, EOFError, lzma.LZMAError, zlib.error, tarfile.TarError: it is damaged.
    """
    most = MAX_RATIO * max(path.stat().st_size, SMALL)
    with _unpacked(path) as file:
        # tarfile's own unpacking ("r|*") copies all that a block gave for every header in it: its
        # time grew with the square of the members where headers shrink well.
        bounded = cast("IO[bytes]", _Bounded(file, most))
        with Tar.open(fileobj=bounded, mode="r|", bufsize=_BLOCK) as archive:
            yield archive


def _unpacked(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.open(path))
    if start.startswith(b"BZh"):
        return cast("IO[bytes]", bz2.open(path))
    if start.startswith((b"\xfd7zXZ", b"\x5d\x00\x00\x80")):
        return cast("IO[bytes]", lzma.open(path))
    return path.open("rb")


class _Bounded(io.RawIOBase):
    """A file of which only so many bytes can be read, headers included."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file, self._left = file, most

    def read(self, size: int = -1) -> bytes:
        """The next bytes.

        Raises:
          tarfile.ReadError: there are more than are allowed.
        """
        data = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise tarfile.ReadError("it expands too much")
        return data
