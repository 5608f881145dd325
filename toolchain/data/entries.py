"""What a container lists: files and folders, by name and size."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toolchain.columns import Column, Places, Texts

_HIDDEN: Final = re.compile(
    r"(?:^|/)(?:\.|__MACOSX|(?:@eaDir|lost\+found|\$RECYCLE\.BIN|System Volume Information)(?:/|$))"
)

# Not "a:1.jpg" or "a:b/1.jpg", which are names.
_DRIVE: Final = re.compile(r"[A-Za-z]:/")


def leads_outside(name: str) -> bool:
    """Whether a name that came with the photos would leave the place that it is looked up in."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or "\0" in name or bool(_DRIVE.match(str(path)))


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

    def last_of_each(self) -> tuple[Entries, dict[str, int]]:
        """Without those whose name comes again; and such names, with how many were left out."""
        hashes = np.fromiter((hash(name) for name in self._names), np.int64, len(self))
        order = np.argsort(hashes, kind="stable")
        equal = hashes[order[1:]] == hashes[order[:-1]]
        places: dict[str, list[int]] = {}
        for place in np.union1d(order[1:][equal], order[:-1][equal]).tolist():
            places.setdefault(self._names[place], []).append(place)
        left_out = [place for found in places.values() for place in found[:-1]]
        kept = np.delete(np.arange(len(self), dtype=np.int64), left_out)
        passed = {name: len(found) - 1 for name, found in places.items() if len(found) > 1}
        return self.take(kept) if left_out else self, passed


def folder_of(name: str) -> str:
    """Of a file or folder in a container, the folder above it, as "a/b/" or ""."""
    return name[: name.rfind("/") + 1]


def is_hidden(name: str) -> bool:
    """Whether a part of the path is hidden, or a system's own: a shadow, thumbnail or deleted file.

    They are macOS', Synology's, Linux' and Windows'.
    """
    return _HIDDEN.search(name) is not None
