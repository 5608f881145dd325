"""Where image files lie: a folder, or an archive that is read without being unpacked.

An archive is foreign: links, devices, absolute paths and `..` are refused, and count, size and
expansion are bounded. Archives are read front to back, since .tar.gz and .tar.xz cannot seek.
"""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from array import array
from collections.abc import Iterable, Iterator, KeysView, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from toolchain.columns import Column, Places, Texts
from toolchain.errors import DataError
from toolchain.images.decode import MAX_BYTES, read_bounded

MAX_FILES: Final = 5_000_000
MAX_TOTAL_BYTES: Final = 1 << 40
# DEFLATE cannot exceed about 1032:1, and photos do not shrink at all: a member, or a whole archive,
# that claims more than this ratio is a bomb.
MAX_RATIO: Final = 100
# Below this size a ratio says nothing: a few photos of one colour shrink as well.
_SMALL: Final = 64 * 1024
# What tarfile and zipfile raise on damaged, encrypted or exotic archives.
_DAMAGE: Final = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)
# What people and programs leave beside photos, and no source reads; a table or an array counts.
_ASIDE: Final = (".txt", ".md", ".html", ".htm", ".pdf", ".json", ".toml", ".log", ".db", ".npy")
# Lists that a source does read (see sources/places365.py).
LISTS: Final = frozenset({"places365_val.txt", "categories_places365.txt"})
_ARCHIVES: Final = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder inside a container; `name` uses forward slashes."""

    name: str
    bytes: int
    is_folder: bool


class Entries(Column[Entry]):
    """Files and folders, packed: 17 bytes each and their names."""

    __slots__ = ("_bytes", "_folders", "_names")

    def __init__(self, names: Texts, sizes: NDArray[np.int64], folders: NDArray[np.bool_]) -> None:
        self._names, self._bytes, self._folders = names, sizes, folders

    @staticmethod
    def of(entries: Iterable[Entry]) -> Entries:
        """Packed in their order; an iterator is read once."""
        sizes, folders = array("q"), bytearray()

        def names() -> Iterator[str]:
            for entry in entries:
                sizes.append(entry.bytes)
                folders.append(entry.is_folder)
                yield entry.name

        texts = Texts(names())
        return Entries(texts, np.asarray(sizes), np.frombuffer(bytes(folders), np.bool_))

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Entry]:
        return map(Entry, self._names, map(int, self._bytes), map(bool, self._folders))

    def _at(self, place: int) -> Entry:
        return Entry(self._names[place], int(self._bytes[place]), bool(self._folders[place]))

    def take(self, places: Places) -> Entries:
        """See `Column.take`."""
        return Entries(self._names.take(places), self._bytes[places], self._folders[places])


class Container(Protocol):
    """Named files that can be listed, and read once in their own order."""

    path: Path

    def entries(self) -> Entries:
        """All files and folders, folders included when the container names them."""

    def read(self, wanted: Set[str]) -> Iterator[tuple[str, bytes]]:
        """The wanted files' (name, bytes), in the container's order."""

    def fingerprint(self) -> str:
        """Changes when a file that counts is added, removed or rewritten; content is not read."""

    def stamp(self, names: Iterable[str]) -> str:
        """Changes when one of these files is rewritten, or others are named; as cheap."""


def open_container(path: Path) -> Container:
    """The folder or archive at `path`.

    Raises:
      DataError: nothing is there, or it is neither a folder nor a known archive.
    """
    if path.is_dir():
        return FolderContainer(path)
    if not path.is_file():
        raise DataError(
            "expected a folder or archive of photos, found none",
            str(path),
            "check data.path; relative paths are looked up here and in $TOOLCHAIN_DATA/datasets",
        )
    if path.name.lower().endswith(".zip"):
        return ZipContainer(path)
    if path.name.lower().endswith(_ARCHIVES):
        return TarContainer(path)
    raise DataError(
        f"expected a folder or one of {', '.join(_ARCHIVES)}, received a file",
        str(path),
        "give the folder that holds the photos",
    )


class FolderContainer:
    """A folder on disk; links inside it are not followed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> Entries:
        """Files and folders, sorted by name, so that the order is the same on every machine."""
        return Entries.of(
            Entry(name, 0 if status is None else status.st_size, status is None)
            for name, status in self._walk()
        )

    def _walk(self) -> Iterator[tuple[str, os.stat_result | None]]:
        """Each file with what the system knows of it, and each folder with None."""
        # Names are joined as text: with pathlib, 60,000 files took 1.2 s, and now 0.2 s.
        for folder, folders, files in os.walk(self.path):
            folders.sort()
            inside = Path(folder).relative_to(self.path).as_posix()
            prefix = "" if inside == "." else f"{inside}/"
            yield from ((prefix + name, None) for name in folders)
            for name in sorted(files):
                status = os.lstat(f"{folder}/{name}")
                if stat.S_ISREG(status.st_mode):
                    yield prefix + name, status

    def read(self, wanted: Set[str]) -> Iterator[tuple[str, bytes]]:
        """See `Container.read`."""
        # A mapping's keys have an order, and sorting a million names would take them into memory.
        for name in wanted if isinstance(wanted, KeysView) else sorted(wanted):
            try:
                with (self.path / name).open("rb") as file:
                    data = read_bounded(file)
            except OSError as error:
                raise DataError(
                    f"the photo cannot be read: {error.strerror}", str(self.path / name)
                ) from error
            yield name, data

    def _stamps(self) -> Iterator[tuple[str, os.stat_result]]:
        """Each file that counts, with what the system knows of it."""
        for name, status in self._walk():
            if status is not None and not _is_aside(name):
                yield name, status

    def fingerprint(self) -> str:
        """See `Container.fingerprint`."""
        return _hash(self._stamps())

    def stamp(self, names: Iterable[str]) -> str:
        """See `Container.stamp`."""
        return _hash((name, _status(f"{self.path}/{name}")) for name in names)


def _is_aside(name: str) -> bool:
    """Whether no source reads the file: it may come and go without making the photos others."""
    file = name.rpartition("/")[2].lower()
    return "/." in f"/{name}" or (file.endswith(_ASIDE) and file not in LISTS)


def _status(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:  # told when it is read
        return None


def _hash(files: Iterable[tuple[str, os.stat_result | None]]) -> str:
    """Of names and of what changes with their content.

    The time of change of the inode is the one that no program sets back: `cp -p`, `rsync -t` and
    `unzip` restore the other. With the inode's number, two files of one moment differ too.
    """
    digest = hashlib.sha256()
    for name, status in files:
        digest.update(f"{name}\0".encode("utf-8", "surrogatepass"))
        if status is not None:
            times = f"{status.st_mtime_ns}\0{status.st_ctime_ns}"
            digest.update(f"{status.st_size}\0{times}\0{status.st_ino}\n".encode())
    return digest.hexdigest()


class TarContainer:
    """A tar archive, compressed or not."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _members(self) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
        bound = _Bound(self.path)
        with _reading(self.path), tarfile.open(self.path, "r|*") as archive:
            for member in archive:
                if not (member.isreg() or member.isdir()):
                    raise _refused(self.path, member.name, "is a link or a device")
                bound.admit(member.name, member.size)
                yield archive, member

    def entries(self) -> Entries:
        """See `Container.entries`."""
        return Entries.of(
            Entry(_plain(member.name), member.size, member.isdir()) for _, member in self._members()
        )

    def read(self, wanted: Set[str]) -> Iterator[tuple[str, bytes]]:
        """See `Container.read`."""
        for archive, member in self._members():
            name = _plain(member.name)
            if name in wanted and member.isreg():
                with _reading(self.path):
                    file = archive.extractfile(member)
                    data = b"" if file is None else file.read(min(member.size, MAX_BYTES) + 1)
                yield name, data

    def fingerprint(self) -> str:
        """See `Container.fingerprint`."""
        return _hash([(self.path.name, self.path.stat())])

    def stamp(self, names: Iterable[str]) -> str:
        """See `Container.stamp`; an archive is rewritten as a whole."""
        return self.fingerprint()


class ZipContainer:
    """A zip archive."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _members(self) -> Iterator[tuple[zipfile.ZipFile, zipfile.ZipInfo]]:
        bound = _Bound(self.path)
        with _reading(self.path), zipfile.ZipFile(self.path) as archive:
            for member in archive.infolist():
                if (member.external_attr >> 28) == 0xA:
                    raise _refused(self.path, member.filename, "is a link")
                if member.file_size > MAX_RATIO * max(member.compress_size, _SMALL):
                    raise _refused(self.path, member.filename, "expands too much")
                bound.admit(member.filename, member.file_size)
                yield archive, member

    def entries(self) -> Entries:
        """See `Container.entries`."""
        return Entries.of(
            Entry(_plain(member.filename), member.file_size, member.is_dir())
            for _, member in self._members()
        )

    def read(self, wanted: Set[str]) -> Iterator[tuple[str, bytes]]:
        """See `Container.read`."""
        for archive, member in self._members():
            name = _plain(member.filename)
            if name in wanted and not member.is_dir():
                with _reading(self.path), archive.open(member) as file:
                    data = file.read(MAX_BYTES + 1)
                yield name, data

    def fingerprint(self) -> str:
        """See `Container.fingerprint`."""
        return _hash([(self.path.name, self.path.stat())])

    def stamp(self, names: Iterable[str]) -> str:
        """See `Container.stamp`; an archive is rewritten as a whole."""
        return self.fingerprint()


class _Bound:
    """Counts what an archive claims and refuses it when it is too much or leads outside."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.total = 0
        self.most = MAX_RATIO * max(path.stat().st_size, _SMALL)

    def admit(self, name: str, size: int) -> None:
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or "\0" in name or ":" in name[:2]:
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


def _plain(name: str) -> str:
    """A member's name without the "./" in front that `tar cf photos.tar .` writes."""
    return PurePosixPath(name).as_posix()


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns what damaged archives raise into an error that names the archive."""
    try:
        yield
    except _DAMAGE as error:
        raise DataError(
            f"the archive cannot be read: {error}", str(path), "download or pack it again"
        ) from error


def _refused(path: Path, member: str, why: str) -> DataError:
    return DataError(
        f"the archive member {member[:120]!r} {why}",
        str(path),
        "pack the photos again as plain files",
    )
