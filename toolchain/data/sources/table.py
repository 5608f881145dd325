"""A table of path and label, one photo a line: `labels.csv` or `labels.tsv`.

A header is optional, and so is a third column with the split. Paths are relative to the table and
stay below its folder; see table_paths.py. Several tables named train, val and test give the split.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from toolchain.data.containers import FolderContainer
from toolchain.data.entries import folder_of, leads_outside
from toolchain.data.sources.base import (
    ContainerSource,
    Layout,
    Place,
    check_classes,
    common_root,
    decoded,
    image_names,
    in_order,
)
from toolchain.data.sources.found import class_name
from toolchain.data.sources.items import Item, Items
from toolchain.data.sources.split_names import SPLIT_NAMES, split_in
from toolchain.data.sources.table_paths import Paths, Photos
from toolchain.data.sources.table_text import PROBE, Columns, ahead, is_photo, normal, parse
from toolchain.data.stamps import status_of
from toolchain.errors import DataError
from toolchain.images.decode import SUFFIXES
from toolchain.values import Split

TABLES: Final = (".csv", ".tsv")
# What competitions ask for lists photos too; its labels are made up.
_MADE_UP: Final = ("submission", "sample")
_CALL_IT: Final = "write `label` above the column of the labels, or give another table as data.path"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table; `path` is relative to it and cannot leave its folder."""

    line: int
    path: str
    label: str
    split: Split | None


def find(place: Place, *, strict: bool = False) -> ContainerSource | None:
    """The photos of the tables that lie above them, or None where no table names a photo.

    Args:
      strict: a table was asked for: one that names no photo is an error, not another layout.

    Raises:
      DataError: several tables, a row that cannot be used, fewer than two classes.
    """
    tables = place.files(*TABLES)
    if not tables:
        return None
    photos = Photos(place.images())
    root = common_root(place.images())
    tables = [name for name in tables if root.startswith(folder_of(name))]
    if not strict:
        tables = [name for name in tables if not _why_not(place, name, photos)]
    real = [name for name in tables if not any(word in name.lower() for word in _MADE_UP)]
    aside = [name for name in tables if real and name not in real]
    tables = real or tables
    if not tables:
        return None
    splits = [split_in(PurePosixPath(name).stem) for name in tables]
    if len(tables) > 1 and None in splits:
        raise DataError(
            f"several tables name photos: {', '.join(tables[:5])}",
            str(place.path),
            "give the table that you mean as data.path",
        )
    by_table = zip(tables, splits if len(tables) > 1 else [None], strict=True)
    read = {name: _read(place, name, given) for name, given in by_table}
    notes = _columns({name: columns for name, (columns, _) in read.items()}, place)
    notes += [f"{name} is left aside" for name in aside]
    return _source(place, {name: rows for name, (_, rows) in read.items()}, photos, notes)


def why_not(place: Place) -> str:
    """Why the first table that lies here is none of photos; "" where there is no table."""
    tables = place.files(*TABLES)
    if not tables:
        return ""
    if not common_root(place.images()).startswith(folder_of(tables[0])):
        return f"{tables[0]} lies in another folder than the photos"
    return _why_not(place, tables[0], Photos(place.images()))


def files_of(path: Path) -> list[str]:
    """The files that a table on disk names, as names below its folder; for a look at what is there.

    Raises:
      DataError: the table is too large, or no UTF-8.
    """
    container = FolderContainer(path.parent)
    text = Place(path, container, ()).text(path.name)
    try:
        columns, rows = parse(text, path.name)
        cells = (row[columns.path] for _, row in rows if len(row) > columns.path)
        names = [normal(cell, path.parent) for cell in cells]
    except csv.Error:
        return []
    if all(status_of(f"{path.parent}/{name}") for name in names):
        return names
    paths = Paths(path.name, Photos(image_names(container.entries())), names[:PROBE])
    return [paths.find(name) or name for name in names]


def _source(
    place: Place, tables: dict[str, list[Row]], photos: Photos, notes: Sequence[str]
) -> ContainerSource:
    first: dict[str, tuple[str, Row]] = {}
    missing: dict[str, None] = {}
    said = [*notes]
    for table, rows in tables.items():
        paths = Paths(table, photos, [row.path for row in rows[:PROBE]])
        for row in rows:
            path = paths.find(row.path)
            if path is None:
                missing[folder_of(table) + row.path] = None
            earlier = first.setdefault(path or folder_of(table) + row.path, (table, row))[1]
            _refuse_two(earlier, row, place.where(table))
        said += _notes(table, paths)
    found = ((path, row) for path, (_, row) in first.items() if path in photos.names)
    items = Items.of(Item(path, row.label, row.split) for path, row in found)
    if not len(items):
        raise DataError(
            f"{next(iter(tables))} names no photo that is there; the first is "
            f"{next(iter(first), 'none')!r}",
            str(place.path),
            "paths are relative to the table",
        )
    classes = in_order(items.classes.values)
    check_classes(
        classes, place.where(next(iter(tables))), "give a table with a label for each photo"
    )
    if left := len(photos.names) - len(items):
        said.append(f"{left:,} photos are not in the table and are left out")
    return ContainerSource(
        place.container, Layout("table", classes, items, tuple(said), tuple(missing))
    )


def _refuse_two(earlier: Row, row: Row, where: str) -> None:
    if (earlier.label, earlier.split) != (row.label, row.split):
        raise DataError(
            f"{row.path} is {earlier.label!r} in line {earlier.line} and {row.label!r} in "
            f"line {row.line}, or in two splits",
            where,
            "keep one of the two lines",
        )


def _notes(table: str, paths: Paths) -> list[str]:
    notes = []
    if paths.folders:
        shown = ", ".join(f"{folder}/" for folder in sorted(paths.folders)[:3])
        notes.append(f"{table} says no folders: its photos are found in {shown}")
    if paths.changed:
        notes.append(
            f"{paths.changed:,} paths of {table} differ from the files' names in case or accents"
        )
    return notes


def _why_not(place: Place, name: str, photos: Photos) -> str:
    """Why a table does not tell the labels of photos; what is damaged in it later is told later."""
    try:
        columns, rows = parse(decoded(place.head(name), place.where(name)), name)
        seen = [row for _, row in ahead(rows)[0]]
    except DataError as error:
        return f"{name} is not taken as a table: {error.what}; {error.remedy}".removesuffix("; ")
    except csv.Error as error:
        return f"{name} is not taken as a table: {error}"
    wide = [row for row in seen if len(row) >= columns.width]
    if not wide:
        return f"{name} has no two columns"
    cells = [normal(row[columns.path], _disk(place, name)) for row in wide]
    return _why_none(name, columns, cells, photos)


def _why_none(name: str, columns: Columns, cells: Sequence[str], photos: Photos) -> str:
    none = f"{name} names no photo that is there; its first is {cells[0][:80]!r}"
    if not any(map(is_photo, cells)):
        return none
    paths = Paths(name, photos, cells)
    try:
        found = [path for cell in cells if (path := paths.find(cell))]
    except DataError as error:
        return error.what
    if not found:
        return none
    if columns.several:
        return _unsure(name, columns)
    # A list of sizes beside class folders says the photos' names too, and no classes.
    root = common_root(sorted(photos.names))
    everywhere = all(root.startswith(f"{folder}/") for folder in paths.folders)
    if paths.is_searched and not columns.is_named and not everywhere:
        return f"{name} has no column called label"
    return ""


def _disk(place: Place, table: str) -> Path | None:
    """The folder in which the table lies; nowhere in an archive."""
    on_disk = isinstance(place.container, FolderContainer)
    return place.container.path / folder_of(table) if on_disk else None


def _unsure(name: str, columns: Columns) -> str:
    shown = ", ".join(column[:40] for column in columns.several[:5])
    return f"{name} has no column called label, and several others: {shown}"


def _columns(read: dict[str, Columns], place: Place) -> list[str]:
    """One sentence on each column that the labels of these tables come from.

    Raises:
      DataError: one table says which column is the label, and another, with a header too, does not.
    """
    odd = [name for name, columns in read.items() if columns.header and not columns.is_named]
    if odd and any(columns.is_named for columns in read.values()):
        raise DataError(
            f"{odd[0]} has no column called label, as another table has",
            str(place.path),
            _CALL_IT,
        )
    tables: dict[str, list[str]] = {}
    for name, columns in read.items():
        tables.setdefault(columns.label_column, []).append(name)
    return [f"labels from {', '.join(names)}, column {one}" for one, names in tables.items()]


def _read(place: Place, name: str, given: Split | None) -> tuple[Columns, list[Row]]:
    where = place.where(name)
    try:
        columns, rows = parse(place.text(name), name)
        if columns.several:
            raise DataError(_unsure(name, columns), where, _CALL_IT)
        return columns, list(_rows(columns, rows, given, where, _disk(place, name)))
    except csv.Error as error:
        raise DataError(f"the table cannot be read: {error}", where) from error


def _rows(
    columns: Columns,
    rows: Iterator[tuple[int, list[str]]],
    given: Split | None,
    where: str,
    folder: Path | None,
) -> Iterator[Row]:
    for line, row in rows:
        if len(row) < columns.width:
            raise DataError(
                f"line {line}: expected {columns.width} columns, received {len(row)}", where
            )
        path, label = row[columns.path], row[columns.label]
        split = given if columns.split is None else _split(row[columns.split], line, where)
        yield Row(line, _path(path, line, where, folder), _label(label, line, where), split)


def _path(text: str, line: int, where: str, folder: Path | None) -> str:
    path = normal(text, folder)
    if leads_outside(path):
        raise DataError(
            f"line {line}: {text[:80]!r} leads outside the folder of the table",
            where,
            "paths are relative to the table and stay below it",
        )
    if not is_photo(text):
        raise DataError(
            f"line {line}: expected the path of a photo, received {text[:80]!r}",
            where,
            f"known are {', '.join(sorted(SUFFIXES))}",
        )
    return path


def _label(text: str, line: int, where: str) -> str:
    if not text.strip():
        raise DataError(f"line {line}: expected a label, received none", where)
    return class_name(text.strip())


def _split(text: str, line: int, where: str) -> Split:
    split = SPLIT_NAMES.get(text.strip().lower())
    if split is None:
        raise DataError(
            f"line {line}: expected train, validation or test, received {text[:40]!r}", where
        )
    return split
