"""Kaggle's digit CSV: `label,pixel0,...,pixel783` a line, 28x28 grey; 2x2 to 256x256 go.

A table without the column `label` is a set to predict: `read_unlabelled` gives its rows.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

import numpy as np
from numpy.typing import NDArray

from toolchain.data.containers import Container, FolderContainer
from toolchain.data.entries import folder_of
from toolchain.data.sources.base import (
    ArraySource,
    Layout,
    Place,
    check_classes,
    in_order,
)
from toolchain.data.sources.items import Item, Items
from toolchain.data.sources.split_names import split_in
from toolchain.errors import DataError
from toolchain.images.decode import MAX_BYTES
from toolchain.values import Split

MAX_SIDE: Final = 256
MAX_ROWS: Final = 5_000_000
# A header has most: "pixel65535", with quotes and comma, and a label before them; room for spaces.
_MAX_LINE: Final = 14 * MAX_SIDE**2 + 1024


@dataclass(frozen=True, slots=True)
class DigitTable:
    """One table: where it lies, its side in pixels, and whether its first column is the label."""

    place: Place
    name: str
    side: int
    labelled: bool

    @property
    def where(self) -> str:
        """What to call it in an error."""
        return self.place.where(self.name)

    def rows(self) -> Iterator[tuple[int, bytes]]:
        """Line number (the header is 1) and text of each row that is not blank.

        Raises:
          DataError: a line too long, or too many.
        """
        with _opened(self.place, self.name) as file:
            _line(file, 1, self.where)
            for number in range(2, MAX_ROWS + 3):
                text = _line(file, number, self.where)
                if not text:
                    return
                if text.strip():
                    yield number, text
        raise DataError(f"a table has at most {MAX_ROWS:,} rows", self.where)

    def labels(self) -> Iterator[tuple[int, str]]:
        """Line number and label of each row; the pixels are not looked at."""
        for number, text in self.rows():
            label = text.partition(b",")[0].strip().strip(b'"').decode(errors="replace")
            if not label:
                raise DataError(f"line {number}: expected a label, received none", self.where)
            yield number, label

    def pixels(self) -> Iterator[NDArray[np.uint8]]:
        """Each row's image, uint8 [side, side].

        Raises:
          DataError: a row with too few or too many values, or one that is not 0..255.
        """
        for number, text in self.rows():
            yield self._image(number, text.partition(b",")[2] if self.labelled else text)

    def _image(self, number: int, text: bytes) -> NDArray[np.uint8]:
        try:
            values = bytes(map(int, text.split(b",")))
        except ValueError as error:
            raise DataError(
                f"line {number}: expected whole numbers of 0 to 255", self.where
            ) from error
        if len(values) != self.side**2:
            raise DataError(
                f"line {number}: expected {self.side**2} pixels, received {len(values)}",
                self.where,
            )
        return np.frombuffer(values, np.uint8).reshape(self.side, self.side)


def find(place: Place) -> ArraySource | None:
    """The labelled tables of pixels that lie here, or None where there is none.

    Nor are there any, unless asked for, where one lies among folders of photos, or has no labels
    beside photos that may have some.

    Raises:
      DataError: only tables without labels, several labelled ones, or a row that cannot be used.
    """
    tables = [table for name in place.files(".csv") if (table := _table(place, name))]
    labelled = [table for table in tables if table.labelled]
    if not tables:
        return None
    photos = place.images()
    is_aside = len({folder_of(name) for name in photos}) > (1 if labelled else 0)
    if is_aside and place.source != "digit-csv":
        return None
    if not labelled:
        raise DataError(
            "the table has no column `label`: it is a set to predict, not to train on",
            tables[0].where,
            "give the table whose first column is `label`",
        )
    splits = [split_in(PurePosixPath(table.name).stem) for table in labelled]
    if len(labelled) > 1 and None in splits:
        raise DataError(
            f"several tables have labels: {', '.join(table.name for table in labelled[:5])}",
            str(place.path),
            "give the one that you mean as data.path",
        )
    given = splits if len(labelled) > 1 else [None]
    pairs = zip(labelled, given, strict=True)
    items = Items.of(item for table, split in pairs for item in _items(table, split))
    classes = in_order(items.classes.values)
    check_classes(classes, labelled[0].where, "give a table with two labels or more")
    notes = [f"{labelled[0].side}x{labelled[0].side} grey rows of {_names(labelled)}"]
    notes += [f"{t.name} has no labels and is left out" for t in tables if not t.labelled]
    if len(photos):
        notes.append(f"{len(photos):,} photos beside the rows are left aside")
    layout = Layout("digit-csv", classes, items, tuple(notes))
    return ArraySource(layout, lambda: (row for table in labelled for row in table.pixels()))


def is_table(container: Container, name: str) -> bool:
    """Whether a CSV's header is one of pixels."""
    return _table(Place(container.path, container, ()), name) is not None


def read_unlabelled(path: Path) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The rows of a table to predict: (number counted from 1, uint8 [side, side]).

    Raises:
      DataError: it is no table of pixels, or a row cannot be used.
    """
    place = Place(path, FolderContainer(path.parent), ())
    table = _table(place, path.name) if path.is_file() else None
    if table is None:
        raise DataError("expected a CSV whose header is pixel0,pixel1,...", str(path))
    yield from enumerate(table.pixels(), start=1)


def _items(table: DigitTable, split: Split | None) -> Iterator[Item]:
    # The line is the name, so that an error or a list of exclusions leads to the row.
    return (Item(f"{table.name}:{line}", label, split) for line, label in table.labels())


def _names(tables: list[DigitTable]) -> str:
    return ", ".join(table.name for table in tables)


def _table(place: Place, name: str) -> DigitTable | None:
    """The table when its header is one of pixels, else None."""
    line = place.head(name).partition(b"\n")[0][:_MAX_LINE]
    header = line.decode(errors="replace").lower().replace('"', "")
    cells = [cell.strip() for cell in header.removeprefix("\ufeff").split(",")]
    labelled = cells[0] == "label"
    pixels = cells[1:] if labelled else cells
    side = math.isqrt(len(pixels))
    if side**2 != len(pixels) or not 1 < side <= MAX_SIDE:
        return None
    # Kaggle counts from 0, Fashion-MNIST's and others' tables from 1.
    start = int(pixels[0] == "pixel1")
    if pixels != [f"pixel{start + number}" for number in range(len(pixels))]:
        return None
    return DigitTable(place, name, side, labelled)


@contextmanager
def _opened(place: Place, name: str) -> Iterator[IO[bytes]]:
    """A file of a folder as a stream; one of an archive whole, since archives are read in passes.

    Raises:
      DataError: it cannot be read, or is too large to be read inside an archive.
    """
    if not isinstance(place.container, FolderContainer):
        data = next((data for _, data in place.container.read({name})), b"")
        if len(data) > MAX_BYTES:
            raise DataError(
                f"a table inside an archive has at most {MAX_BYTES:,} bytes",
                place.where(name),
                "unpack the archive and give the folder",
            )
        yield io.BytesIO(data)
        return
    try:
        with (place.container.path / name).open("rb") as file:
            yield file
    except OSError as error:
        raise DataError(f"the table cannot be read: {error.strerror}", place.where(name)) from error


def _line(file: IO[bytes], number: int, where: str) -> bytes:
    text = file.readline(_MAX_LINE)
    if len(text) >= _MAX_LINE:
        raise DataError(f"line {number} has more than {_MAX_LINE:,} bytes", where)
    return text
