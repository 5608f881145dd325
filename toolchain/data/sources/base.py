"""What every source gives: items with a class, their bytes, and what was left out and why."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from toolchain.columns import Index, Texts
from toolchain.data.containers import Container, Entries, Entry, FolderContainer
from toolchain.data.entries import is_hidden
from toolchain.data.sources.items import Item, Items
from toolchain.data.stamps import status_of
from toolchain.errors import DataError, is_printable
from toolchain.images.decode import MAX_BYTES, SUFFIXES

HEAD_LINES: Final = 64
# A row of 256x256 pixels as text, twice: a header and more.
_MAX_HEAD: Final = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Layout:
    """What was recognised.

    Attributes:
      name: of the layout, as `data.source` names it.
      classes: names in the order of the labels.
      items: one an image.
      notes: what was assumed or left aside, one sentence each.
      missing: images that a list names and that are not there.
      skipped: (name, reason) of images that are left out.
    """

    name: str
    classes: tuple[str, ...]
    items: Items
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()


class UnlabelledError(DataError):
    """The names of the photos do not tell their classes; a table may have been meant to."""


class Source(Protocol):
    """Labelled images in their original bytes."""

    layout: Layout

    def read(self) -> Iterator[tuple[Item, bytes]]:
        """Every image once, in a fixed order."""


class ContainerSource:
    """Image files in a folder or archive."""

    def __init__(self, container: Container, layout: Layout) -> None:
        self.container = container
        self.layout = layout

    def read(self) -> Iterator[tuple[Item, bytes]]:
        """See `Source.read`; the order is the container's."""
        items = self.layout.items
        places = Index(items.names)
        for name, data in self.container.read(places.keys()):
            yield items[places[name]], data


class ArraySource:
    """Images that are rows of an array; they are handed on as PNG, so that one decoder sees all.

    Attributes:
      rows: called anew for every reading; yields uint8 [height, width] or [height, width, 3], one
        for each item of the layout, in their order.
    """

    def __init__(self, layout: Layout, rows: Callable[[], Iterable[NDArray[np.uint8]]]) -> None:
        self.layout = layout
        self.rows = rows

    def read(self) -> Iterator[tuple[Item, bytes]]:
        """See `Source.read`."""
        for item, pixels in zip(self.layout.items, self.rows(), strict=True):
            yield item, as_png(pixels)


def as_png(pixels: NDArray[np.uint8]) -> bytes:
    """A row of an array, uint8 [height, width] or [height, width, 3], as a PNG file."""
    buffer = io.BytesIO()
    # Uncompressed: deflating 28x28 pixels takes as long as decoding and resizing them.
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


@dataclass(frozen=True)
class Place:
    """What lies at `data.path`.

    Attributes:
      path: of the folder, archive, table or array.
      container: what gives the bytes.
      entries: the names in it.
      links: names of links in it, which are not followed.
      source: the layout that was asked for, or "auto".
    """

    path: Path
    container: Container
    entries: Sequence[Entry]
    links: Sequence[str] = ()
    source: str = "auto"

    def images(self) -> Texts:
        """Names of the photos, hidden ones left out."""
        return image_names(self.entries)

    def files(self, *suffixes: str) -> list[str]:
        """Names of the files that end so, hidden ones left out, sorted."""
        return sorted(_named(self.entries, suffixes))

    def text(self, name: str) -> str:
        """A list or table of UTF-8 text.

        Raises:
          DataError: it is too large, or no UTF-8.
        """
        data = next((data for _, data in self.container.read({name})), b"")
        if len(data) > MAX_BYTES:
            raise DataError(
                f"a list or table has at most {MAX_BYTES:,} bytes",
                self.where(name),
                "leave out columns other than path, label and split, or use class folders",
            )
        return decoded(data, self.where(name))

    def head(self, name: str) -> bytes:
        """The first lines of a table, at most `HEAD_LINES` of them.

        Raises:
          DataError: it cannot be read.
        """
        if not isinstance(self.container, FolderContainer):
            return self._heads.get(name, b"")
        try:
            with (self.container.path / name).open("rb") as file:
                return _first_lines(file.read(_MAX_HEAD))
        except OSError as error:
            raise DataError(
                f"the table cannot be read: {error.strerror}", self.where(name)
            ) from error

    @cached_property
    def _heads(self) -> dict[str, bytes]:
        """Of all tables in an archive, which is read in passes: one pass for all."""
        tables = frozenset(self.files(".csv", ".tsv"))
        if not tables:
            return {}
        return {name: _first_lines(data) for name, data in self.container.read(tables)}

    def where(self, name: str) -> str:
        """What to call a file of this place in an error."""
        return str(self.container.path / name)


class ListedFolder(FolderContainer):
    """A folder of which only some files count: the one that was given, and those that it names."""

    def __init__(self, path: Path, given: str, names: Iterable[str] = ()) -> None:
        super().__init__(path)
        self.given = given
        self.names = frozenset((given, *names))

    def entries(self) -> Entries:
        """The files that are there and below the folder.

        One behind a link is not, but for the given file: whoever gives a link means what it is of.
        """
        return Entries.of(Entry(name, status.st_size, False) for name, status in self._stamps())

    def _stamps(self) -> Iterator[tuple[str, os.stat_result]]:
        root = self.path.resolve()
        real: dict[str, bool] = {}  # resolved once each: for every file, it took 0.14 ms
        for name in sorted(self.names):
            folder = name.rpartition("/")[0]
            if folder not in real:
                real[folder] = _is_real(root / folder, root)
            path = f"{root}/{name}"
            if name == self.given:
                path = str(Path(path).resolve())
            status = status_of(path) if real[folder] else None
            if status is not None and stat.S_ISREG(status.st_mode):
                yield name, status


def _is_real(folder: Path, root: Path) -> bool:
    """Whether a folder is `root` or below it, without a link on the way."""
    try:
        return folder.is_relative_to(root) and folder.resolve() == folder
    except (OSError, ValueError):  # a name that is too long, or holds a NUL
        return False


def decoded(data: bytes, where: str) -> str:
    """UTF-8 text.

    Raises:
      DataError: it is none.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"expected UTF-8 text: {error.reason} at byte {error.start:,}",
            where,
            "save it as UTF-8; spreadsheets call that CSV UTF-8",
        ) from error


def _first_lines(data: bytes) -> bytes:
    return b"\n".join(data[:_MAX_HEAD].split(b"\n", HEAD_LINES)[:HEAD_LINES])


def image_names(entries: Sequence[Entry]) -> Texts:
    """Names of the files that are photos by their suffix, hidden ones left out."""
    return Texts(_named(entries, tuple(SUFFIXES)))


def _named(entries: Iterable[Entry], suffixes: tuple[str, ...]) -> Iterator[str]:
    # By the end of the text: with pathlib, looking four times at 4,000 names took 0.3 s. A name
    # that is a suffix and nothing else is hidden.
    for entry in entries:
        fits = entry.name.lower().endswith(suffixes) and not entry.is_folder
        if fits and not is_hidden(entry.name):
            yield entry.name


def common_root(files: Sequence[str]) -> str:
    """The folder all files share, as "a/b/" or ""; archives often hold one folder of everything."""
    if not len(files):
        return ""
    first, last = min(files).split("/")[:-1], max(files).split("/")[:-1]
    shared = []
    for left, right in zip(first, last, strict=False):
        if left != right:
            break
        shared.append(left)
    return "".join(part + "/" for part in shared)


def in_order(classes: Iterable[str]) -> tuple[str, ...]:
    """Class names sorted; whole numbers by their value, so that 10 follows 9."""
    names = set(classes)
    # Python reads no number of thousands of digits.
    numbers = all(name.isascii() and name.isdecimal() and len(name) <= 18 for name in names)
    return tuple(sorted(names, key=(lambda name: (int(name), name)) if numbers else None))


def check_classes(classes: Sequence[str], where: str, remedy: str) -> None:
    """Refuse what cannot be told apart or printed.

    Raises:
      UnlabelledError: fewer than two classes.
      DataError: a name is empty or not printable.
    """
    if len(classes) < 2:
        raise UnlabelledError(
            f"expected at least two classes, found one: {classes[0]}"
            if classes
            else "expected at least two classes, found none",
            where,
            remedy,
        )
    for name in classes:
        if not name or not is_printable(name):
            raise DataError(
                f"expected class names of printable text, found {name!r}", where, "rename the class"
            )
