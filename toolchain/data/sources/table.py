"""A table of path and label, one photo a line: `labels.csv` or `labels.tsv`.

A header is optional, and so is a third column with the split. Paths are relative to the table and
stay below its folder. Several tables named train, val and test give the split by their names.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from toolchain.data.sources.base import (
    ContainerSource,
    Layout,
    Place,
    check_classes,
    common_root,
    in_order,
)
from toolchain.data.sources.items import Item, Items
from toolchain.data.sources.split_names import SPLIT_NAMES
from toolchain.errors import DataError
from toolchain.images.decode import SUFFIXES
from toolchain.values import Split

_PATHS: Final = frozenset({"path", "file", "filename", "file_name", "filepath", "image", "name"})
_LABELS: Final = frozenset({"label", "class", "class_name", "category", "target"})
_SPLITS: Final = frozenset({"split", "set", "subset"})
_TABLES: Final = (".csv", ".tsv")
# Rows that are looked at to tell a table of photos from any other.
_PROBE: Final = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table; `path` is relative to it and cannot leave its folder."""

    line: int
    path: str
    label: str
    split: Split | None


@dataclass(frozen=True, slots=True)
class Columns:
    """Where path, label and split stand, counted from 0."""

    path: int
    label: int
    split: int | None

    @property
    def width(self) -> int:
        """How many columns a row needs."""
        return max(self.path, self.label, self.split or 0) + 1


def find(place: Place, *, strict: bool = False) -> ContainerSource | None:
    """The photos of the tables that lie above them, or None where no table names a photo.

    Args:
      strict: a table was asked for: one that names no photo is an error, not another layout.

    Raises:
      DataError: several tables, a row that cannot be used, fewer than two classes.
    """
    tables = place.files(*_TABLES)
    if not tables:
        return None
    images = frozenset(place.images())
    root = common_root(sorted(images))
    tables = [name for name in tables if root.startswith(_folder(name))]
    if not strict:
        tables = [name for name in tables if _names_photos(place.text(name), name, images)]
    if not tables:
        return None
    splits = [SPLIT_NAMES.get(PurePosixPath(name).stem.lower()) for name in tables]
    if len(tables) > 1 and None in splits:
        raise DataError(
            f"several tables name photos: {', '.join(tables[:5])}",
            str(place.path),
            "give the table that you mean as data.path",
        )
    by_table = zip(tables, splits if len(tables) > 1 else [None], strict=True)
    rows = [(name, row) for name, given in by_table for row in _rows(place, name, given)]
    return _source(place, tables, rows, images)


def listed(text: str, name: str) -> list[str]:
    """The paths in a table, whatever stands beside them; for a look at what is there."""
    try:
        columns, rows = _parse(text, name)
        return [_normal(row[columns.path]) for _, row in rows if len(row) > columns.path]
    except csv.Error:
        return []


def _source(
    place: Place, tables: Sequence[str], rows: Sequence[tuple[str, Row]], images: Set[str]
) -> ContainerSource:
    first: dict[str, tuple[str, Row]] = {}
    missing: list[str] = []
    for table, row in rows:
        path = _folder(table) + row.path
        earlier = first.setdefault(path, (table, row))[1]
        if (earlier.label, earlier.split) != (row.label, row.split):
            raise DataError(
                f"{row.path} is {earlier.label!r} in line {earlier.line} and {row.label!r} in "
                f"line {row.line}, or in two splits",
                place.where(table),
                "keep one of the two lines",
            )
        if earlier is row and path not in images:
            missing.append(path)
    found = ((path, row) for path, (_, row) in first.items() if path in images)
    items = Items.of(Item(path, row.label, row.split) for path, row in found)
    if not len(items):
        raise DataError(
            f"{tables[0]} names no photo that is there; the first is {next(iter(first), 'none')!r}",
            str(place.path),
            "paths are relative to the table",
        )
    classes = in_order(items.classes.values)
    check_classes(classes, place.where(tables[0]), "give a table with a label for each photo")
    notes = [f"labels from {', '.join(tables)}"]
    if left := len(images) - len(items):
        notes.append(f"{left:,} photos are not in the table and are left out")
    layout = Layout("table", classes, items, tuple(notes), tuple(missing))
    return ContainerSource(place.container, layout)


def _folder(name: str) -> str:
    return name.rpartition("/")[0] + "/" if "/" in name else ""


def _names_photos(text: str, name: str, images: Set[str]) -> bool:
    """Whether one of the first rows names a photo; what is damaged after it is told later."""
    try:
        columns, rows = _parse(text, name)
        for _, row in itertools.islice(rows, _PROBE):
            if len(row) >= columns.width and _folder(name) + _normal(row[columns.path]) in images:
                return True
    except csv.Error:
        pass
    return False


def _rows(place: Place, name: str, given: Split | None) -> Iterator[Row]:
    where = place.where(name)
    try:
        columns, rows = _parse(place.text(name), name)
        for line, row in rows:
            if len(row) < columns.width:
                raise DataError(
                    f"line {line}: expected {columns.width} columns, received {len(row)}", where
                )
            path, label = row[columns.path], row[columns.label]
            split = given if columns.split is None else _split(row[columns.split], line, where)
            yield Row(line, _path(path, line, where), _label(label, line, where), split)
    except csv.Error as error:
        raise DataError(f"the table cannot be read: {error}", where) from error


def _parse(text: str, name: str) -> tuple[Columns, Iterator[tuple[int, list[str]]]]:
    """The columns, and the rows below the header with their line numbers."""
    first_line = text.partition("\n")[0]
    comma = ";" if ";" in first_line and "," not in first_line else ","
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter="\t" if name.lower().endswith(".tsv") else comma,
        strict=True,
    )
    rows = ((reader.line_num, row) for row in reader if any(cell.strip() for cell in row))
    line, first = next(rows, (0, []))
    # A header names no photo: "path,label", not "cat/1.jpg,cat".
    photos = [place for place, cell in enumerate(first) if _is_photo(cell)]
    if not photos:
        return _named([cell.strip().lower() for cell in first]), rows
    path = photos[0]
    columns = Columns(path, 1 if path == 0 else 0, 2 if len(first) > 2 else None)
    return columns, itertools.chain([(line, first)], rows)


def _named(header: Sequence[str]) -> Columns:
    """The columns by their names; what has no known name is taken from the left."""

    def of(names: Set[str]) -> int | None:
        return next((place for place, cell in enumerate(header) if cell in names), None)

    path, label, split = of(_PATHS), of(_LABELS), of(_SPLITS)
    free = [place for place in range(len(header) + 2) if place not in (path, label, split)]
    path = free.pop(0) if path is None else path
    return Columns(path, free.pop(0) if label is None else label, split)


def _is_photo(text: str) -> bool:
    return PurePosixPath(text.strip()).suffix.lower() in SUFFIXES


def _normal(text: str) -> str:
    return PurePosixPath(text.strip().replace("\\", "/")).as_posix()


def _path(text: str, line: int, where: str) -> str:
    path = PurePosixPath(_normal(text))
    if path.is_absolute() or ".." in path.parts or ":" in text[:2] or "\0" in text:
        raise DataError(
            f"line {line}: {text[:80]!r} leads outside the folder of the table",
            where,
            "paths are relative to the table and stay below it",
        )
    if not _is_photo(text):
        raise DataError(
            f"line {line}: expected the path of a photo, received {text[:80]!r}",
            where,
            f"known are {', '.join(sorted(SUFFIXES))}",
        )
    return path.as_posix()


def _label(text: str, line: int, where: str) -> str:
    if not text.strip():
        raise DataError(f"line {line}: expected a label, received none", where)
    return text.strip()


def _split(text: str, line: int, where: str) -> Split:
    split = SPLIT_NAMES.get(text.strip().lower())
    if split is None:
        raise DataError(
            f"line {line}: expected train, validation or test, received {text[:40]!r}", where
        )
    return split
