"""Which file a row of a table means: the path that it says, or the one photo of that name."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import PurePosixPath

from toolchain.data.entries import folder_of
from toolchain.data.sources.split_names import split_in, split_of
from toolchain.errors import DataError


class Photos:
    """The photos that are there, by their names without regard to case and form of accents.

    Attributes:
      names: as they are.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)

    @cached_property
    def by_path(self) -> dict[str, list[str]]:
        """Path -> the names that are so but for case and accents."""
        return _grouped((_folded(name), name) for name in self.names)

    @cached_property
    def by_file(self) -> dict[str, list[str]]:
        """Last part of a path -> the names that end so."""
        return _grouped((_file(name), name) for name in self.names)


class Paths:
    """The photos around one table.

    A row means the file of its path from the table. Where none of the first rows is one, it means
    the photo whose path ends so: tables often say `1.jpg` of images/1.jpg. Case and the form of
    accents do not count where no file has the very name.

    Attributes:
      changed: how many rows were found under a name of other case or accents.
      folders: those in which rows without them were found.
    """

    def __init__(self, table: str, photos: Photos, first: Sequence[str]) -> None:
        self._table, self._photos = table, photos
        self._folder = folder_of(table)
        names = [self._folder + path for path in first]
        self._is_direct = any(name in photos.names for name in names) or any(
            _folded(name) in photos.by_path for name in names
        )
        self.changed = 0
        self.folders: set[str] = set()

    @property
    def is_searched(self) -> bool:
        """Whether rows are not meant as paths from the table."""
        return not self._is_direct

    def find(self, path: str) -> str | None:
        """The name of the photo that a row means, or None where it is not there.

        Raises:
          DataError: it may be one of several.
        """
        name = self._folder + path
        if name in self._photos.names:
            return name
        found = self._photos.by_path.get(_folded(name), []) if self._is_direct else self._all(path)
        if len(found) > 1:
            found = self._preferred(found, path)
        if not found:
            return None
        if self._is_direct or not found[0].endswith(path):
            self.changed += 1
        if not self._is_direct:
            parts = found[0].split("/")
            self.folders.add("/".join(parts[: -path.count("/") - 1]))
        return found[0]

    def _preferred(self, found: list[str], path: str) -> list[str]:
        exact = [name for name in found if name.endswith(path)]
        split = split_in(PurePosixPath(self._table).stem)
        named = [n for n in exact if split and split in map(split_of, n.split("/")[:-1])]
        for choice in (named, exact):
            if len(choice) == 1:
                return choice
        raise DataError(
            f"{path} may be {found[0]} or {found[1]}",
            self._table,
            "write the folder into the table's paths",
        )

    def _all(self, path: str) -> list[str]:
        """The photos below the table whose paths end so."""
        end = _folded(path)
        same = (n for n in self._photos.by_file.get(_file(path), []) if n.startswith(self._folder))
        return [name for name in same if f"/{_folded(name)}".endswith(f"/{end}")]


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for key, name in sorted(pairs):
        groups.setdefault(key, []).append(name)
    return groups


def _file(path: str) -> str:
    return _folded(path.rpartition("/")[2])


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
