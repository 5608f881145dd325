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
# What `tar --label` writes in front: a name without data.
_VOLUME_LABEL: Final = b"V"
# To tarfile these are the end of the archive, and all behind it would be lost.
_DAMAGED: Final = (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError)  # type: ignore[attr-defined]
_BLOCK: Final = 1 << 16
# An .xz says itself how much of what it unpacked it goes back to, up to 4 GiB; `xz -9` takes 65.
_MAX_XZ_MEMORY: Final = 256 * 1024 * 1024


class PlainMember(tarfile.TarInfo):
    """A member of a tar; headers that are damaged, or take memory as they please, are refused.

    Raises:
      tarfile.ReadError: a damaged header, a negative size, an extension of more than 64 KiB, or a
        sparse file, whose map has no bound.
    """

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> PlainMember:
        """The next member, with what extended headers before it say of it."""
        try:
            member = super().fromtarfile(archive)
        except _DAMAGED as error:
            raise tarfile.ReadError(f"a header is damaged: {error}") from error
        if member.size < 0:
            raise tarfile.ReadError("a member has a negative size")
        return member

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> PlainMember:
        """The member of a header's 512 bytes."""
        member = super().frombuf(buf, encoding, errors)
        if member.type in _EXTENSIONS and not 0 <= member.size <= _MAX_EXTENSION:
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
            if member.type != _VOLUME_LABEL or member.size:
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
        return cast("IO[bytes]", _Xz(path.open("rb")))
    return path.open("rb")


class _Xz(io.RawIOBase):
    """An .xz or .lzma file, unpacked in bounded memory, which `lzma.open` cannot be told."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._unpacker = file, _xz_unpacker()

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most so many; none at the end.

        Raises:
          lzma.LZMAError: it is damaged, or asks for too much memory.
          EOFError: it is cut.
        """
        data = b""
        while not data:
            packed = self._unpacker.unused_data
            if self._unpacker.needs_input:
                packed = self._file.read(_BLOCK)
                if not packed:
                    raise EOFError("the compressed data end too early")
            elif self._unpacker.eof:
                # Another stream may follow, behind zeros: as `cat a.xz b.xz` makes it.
                while not (packed := packed.lstrip(b"\0")):
                    packed = self._file.read(_BLOCK)
                    if not packed:
                        return b""
                self._unpacker = _xz_unpacker()
            data = self._unpacker.decompress(packed, size)
        return data

    def close(self) -> None:
        """Close the file below."""
        self._file.close()
        super().close()


def _xz_unpacker() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(memlimit=_MAX_XZ_MEMORY)


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
