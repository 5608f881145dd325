"""Archives of photos, read where they lie.

An archive is foreign: links, devices, absolute paths and `..` are refused, and count, size and
expansion are bounded. Archives are read front to back, since .tar.gz and .tar.xz cannot seek.
"""

from __future__ import annotations

import contextlib
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Set
from pathlib import Path, PurePosixPath
from typing import Final

from toolchain.data.entries import Entries, Entry, leads_outside
from toolchain.data.stamps import hash_stamps
from toolchain.data.tar import MAX_RATIO, SMALL, open_tar
from toolchain.data.unread import unread
from toolchain.errors import DataError
from toolchain.images.decode import MAX_BYTES

MAX_FILES: Final = 5_000_000
MAX_TOTAL_BYTES: Final = 1 << 40
# What tarfile and zipfile raise on damaged, encrypted or exotic archives.
DAMAGE: Final = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    OverflowError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)
# Of other methods, zipfile unpacks all that it is given in one go, whatever the size was said to
# be: 177 bytes of bzip2 took 400 MB.
METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class _Archive:
    """A file that is rewritten as a whole, whichever of its members changes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fingerprint(self) -> str:
        """See `Container.fingerprint`."""
        with reading(self.path):
            return hash_stamps([(self.path.name, self.path.stat())])

    def stamp(self, names: Iterable[str]) -> str:
        """See `Container.stamp`."""
        return self.fingerprint()


class TarContainer(_Archive):
    """A tar archive, compressed or not."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._passed: dict[str, int] | None = None  # until the members were listed

    def _members(self) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
        with reading(self.path), open_tar(self.path) as archive:
            bound = _Bound(self.path)
            for member in archive.forward():
                if not (member.isreg() or member.isdir()):
                    raise _refused(self.path, member.name, "is a link or a device")
                bound.admit(member.name, member.size)
                yield archive, member

    def entries(self) -> Entries:
        """See `Container.entries`; of members of one name the last counts, as for tar."""
        listed = Entries.of(
            Entry(plain_name(member.name), member.size, member.isdir())
            for _, member in self._members()
        )
        kept, self._passed = listed.last_of_each()
        return kept

    def read(self, wanted: Set[str]) -> Iterator[tuple[str, bytes]]:
        """See `Container.read`."""
        if self._passed is None:
            self.entries()
        passed = dict(self._passed or {})
        for archive, member in self._members():
            name = plain_name(member.name)
            if passed.get(name):
                passed[name] -= 1
            elif name in wanted and member.isreg():
                with reading(self.path):
                    file = archive.extractfile(member)
                    data = b"" if file is None else file.read(min(member.size, MAX_BYTES) + 1)
                yield name, data


class ZipContainer(_Archive):
    """A zip archive."""

    def _members(self) -> Iterator[tuple[zipfile.ZipFile, str, zipfile.ZipInfo]]:
        with reading(self.path), zipfile.ZipFile(self.path) as archive:
            bound = _Bound(self.path)
            members = {}
            for member in archive.infolist():
                self._admit(member)
                bound.admit(member.filename, member.file_size)
                members[plain_name(member.filename)] = member
            yield from ((archive, name, member) for name, member in members.items())

    def _admit(self, member: zipfile.ZipInfo) -> None:
        if (member.external_attr >> 28) == 0xA:
            raise _refused(self.path, member.filename, "is a link")
        if member.flag_bits & 1:
            raise _refused(self.path, member.filename, "is encrypted")
        if member.compress_type not in METHODS:
            raise _refused(self.path, member.filename, "is neither stored nor deflated")
        if member.file_size > MAX_RATIO * max(member.compress_size, SMALL):
            raise _refused(self.path, member.filename, "expands too much")

    def entries(self) -> Entries:
        """See `Container.entries`; of members of one name the last counts."""
        return Entries.of(
            Entry(name, member.file_size, _is_folder(member)) for _, name, member in self._members()
        )

    def read(self, wanted: Set[str]) -> Iterator[tuple[str, bytes]]:
        """See `Container.read`."""
        for archive, name, member in self._members():
            if name in wanted and not _is_folder(member):
                try:
                    with archive.open(member) as file:
                        data = file.read(MAX_BYTES + 1)
                except DAMAGE as error:
                    data = unread(name, f"{self.path}/{name}", error)
                yield name, data


class _Bound:
    """Counts what an archive claims and refuses it when it is too much or leads outside."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.total = 0
        self.most = MAX_RATIO * max(path.stat().st_size, SMALL)

    def admit(self, name: str, size: int) -> None:
        if leads_outside(name):
            raise _refused(self.path, name, "leads outside the archive")
        self.count += 1
        self.total += size
        if self.total > self.most:
            raise _refused(self.path, name, "expands too much")
        if self.count > MAX_FILES or self.total > MAX_TOTAL_BYTES:
            raise DataError(
                f"the archive has more than {MAX_FILES:,} files or {MAX_TOTAL_BYTES:,} bytes",
                str(self.path),
            )


def plain_name(name: str) -> str:
    """A member's name as `Entry` has it.

    Without the "./" in front that `tar cf photos.tar .` writes, and with slashes where programs on
    Windows wrote backslashes.
    """
    return PurePosixPath(name.replace("\\", "/")).as_posix()


def _is_folder(member: zipfile.ZipInfo) -> bool:
    return member.filename.endswith(("/", "\\"))


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what damaged archives raise into an error that names the archive."""
    try:
        yield
    except DAMAGE as error:
        raise DataError(
            f"the archive cannot be read: {error}", str(path), "download or pack it again"
        ) from error


def _refused(path: Path, member: str, why: str) -> DataError:
    return DataError(
        f"the archive member {member[:120]!r} {why}",
        str(path),
        "pack the photos again as plain files",
    )
