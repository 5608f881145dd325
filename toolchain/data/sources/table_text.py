"""The text of a table: what separates its cells, which column is which, and its rows."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Final

from toolchain.data.sources.split_names import SPLIT_NAMES
from toolchain.images.decode import SUFFIXES

_PATHS: Final = frozenset({"path", "file", "filename", "file_name", "filepath", "image", "name"})
_LABELS: Final = frozenset({"label", "class", "class_name", "category", "target"})
_SPLITS: Final = frozenset({"split", "set", "subset"})
# What pandas writes in front of its own rows.
_NUMBERS: Final = frozenset({"", "index", "unnamed: 0"})
# What Excel writes above the header.
_SEPARATOR: Final = re.compile(r"sep=([,;\t])[ \t]*(?:[\r\n]|$)", re.IGNORECASE)
# Rows that are looked at to tell the columns, and a table of photos from any other.
PROBE: Final = 20


@dataclass(frozen=True, slots=True)
class Columns:
    """Where path, label and split stand, counted from 0.

    Attributes:
      path, label, split: places; None where there is no split.
      is_named: whether the header calls the label one.
      header: what the header calls the label; "" where there is no header.
      several: the columns of which any may be the label, where that is not known.
    """

    path: int
    label: int
    split: int | None
    is_named: bool = False
    header: str = ""
    several: tuple[str, ...] = ()

    @property
    def label_column(self) -> str:
        """What to call the column of the labels: by the header, or counted from 1."""
        return self.header or str(self.label + 1)

    @property
    def width(self) -> int:
        """How many columns a row needs."""
        return max(self.path, self.label, self.split or 0) + 1


def parse(text: str, name: str) -> tuple[Columns, Iterator[tuple[int, list[str]]]]:
    """The columns, and the rows below the header with their line numbers.

    Raises:
      csv.Error: the text is no table, now or while the rows are read.
    """
    said = _SEPARATOR.match(text)
    mark = said[1] if said else _separator(text, name)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    rows = ((reader.line_num, row) for row in reader if any(cell.strip() for cell in row))
    if said:
        next(rows)
    line, first = next(rows, (0, []))
    # A header names no photo: "path,label", not "cat/1.jpg,cat".
    photos = [place for place, cell in enumerate(first) if is_photo(cell)]
    if photos:
        path = photos[0]
        has_split = len(first) > 2 and first[2].strip().lower() in SPLIT_NAMES
        columns = Columns(path, 1 if path == 0 else 0, 2 if has_split else None)
        return columns, itertools.chain([(line, first)], rows)
    seen, rest = ahead(rows)
    return _named([cell.strip() for cell in first], [row for _, row in seen]), itertools.chain(
        seen, rest
    )


def ahead(
    rows: Iterator[tuple[int, list[str]]],
) -> tuple[list[tuple[int, list[str]]], Iterator[tuple[int, list[str]]]]:
    """The first rows, and what gives the others; damage among the first is told by the others."""
    seen: list[tuple[int, list[str]]] = []
    try:
        for row in itertools.islice(rows, PROBE):
            seen.append(row)
    except csv.Error as error:
        damage = error
        return seen, (_raise(damage) for _ in range(1))
    return seen, rows


def _raise(error: csv.Error) -> tuple[int, list[str]]:
    raise error


def _separator(text: str, name: str) -> str:
    first = text.partition("\n")[0]
    marks = "\t,;" if name.lower().endswith(".tsv") else ",;\t"
    return next((mark for mark in marks if mark in first), marks[0])


def _named(shown: Sequence[str], rows: Sequence[Sequence[str]]) -> Columns:
    """The columns by their names.

    Where none is known, photos are told by the rows, and the label is the one column that is left.
    """
    header = [cell.lower() for cell in shown]

    def of(names: Set[str]) -> int | None:
        return next((place for place, cell in enumerate(header) if cell in names), None)

    def is_number(place: int) -> bool:
        return place < len(header) and header[place] in _NUMBERS

    path, label, split = of(_PATHS), of(_LABELS), of(_SPLITS)
    named = label is not None
    photos = [sum(is_photo(row[c]) for row in rows if len(row) > c) for c in range(len(header))]
    if photos and max(photos) > (0 if path is None else photos[path]):
        path = photos.index(max(photos))
    is_told = path is not None
    places = range(len(header) + 2)
    free = [place for place in places if place not in (path, label, split)]
    # A column of row numbers is taken last.
    free.sort(key=is_number)
    path = free.pop(0) if path is None else path
    others = [shown[place] for place in free if place < len(header) and not is_number(place)]
    several = tuple(others) if is_told and not named and len(others) > 1 else ()
    label = free.pop(0) if label is None else label
    said = shown[label] if label < len(header) else ""
    return Columns(path, label, split, named, said, several)


def is_photo(text: str) -> bool:
    """Whether a cell ends as the names of photos do."""
    return PurePosixPath(text.strip()).suffix.lower() in SUFFIXES


def normal(text: str, folder: Path | None = None) -> str:
    """A path with forward slashes and nothing that can be left out.

    Args:
      text: the cell.
      folder: where the table lies on disk: absolute paths below it become relative to it.
    """
    path = PurePosixPath(text.strip().replace("\\", "/"))
    if folder is not None and path.is_absolute():
        for name in _names(folder.absolute()):
            if path.is_relative_to(name):
                return path.relative_to(name).as_posix()
    return path.as_posix()


@lru_cache(maxsize=8)
def _names(folder: Path) -> tuple[str, str]:
    """A folder's own names: as it was given, and without links; looked up once for all rows."""
    return folder.as_posix(), folder.resolve().as_posix()
