"""`data.exclude`: a text file with names of images that are left out, one a line.

Names are those that the manifest and `toolchain data check` print. A line that begins with # is a
comment; a name that itself begins with # is written `./#name`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Set
from pathlib import Path
from typing import Final

import numpy as np

from toolchain.data.sources.base import Layout
from toolchain.errors import DataError

REASON: Final = "excluded"
MAX_BYTES: Final = 256 * 1024 * 1024


def read_names(path: Path) -> frozenset[str]:
    """The names in the file.

    Raises:
      DataError: it is missing, cannot be read or is too large.
    """
    try:
        if not path.is_file():
            raise DataError("expected a list of names, found none", str(path), "check data.exclude")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"the list cannot be read: {error.strerror}", str(path)) from error
    if len(data) > MAX_BYTES:
        raise DataError(f"a list has at most {MAX_BYTES:,} bytes", str(path))
    # Names of files may be no UTF-8; folders are listed with the same escapes.
    lines = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff").split("\n")
    stripped = (line.removesuffix("\r") for line in lines)
    return frozenset(n.removeprefix("./") for n in stripped if n and not n.startswith("#"))


def fits_a_line(name: str) -> bool:
    """Whether such a file can hold this name; it cannot where the name itself breaks a line."""
    return "\n" not in name and "\r" not in name


def names_text(reasons: Iterable[tuple[str, str]]) -> bytes:
    """(name, reason) pairs as the content of such a file, each reason a comment above its names.

    Names that do not fit a line are left out.
    """
    lines, last = [], ""
    for name, reason in reasons:
        if not fits_a_line(name):
            continue
        if reason != last:
            lines.append("# " + " ".join(reason.split()))
            last = reason
        lines.append(f"./{name}" if name.startswith(("#", "./")) else name)
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def without(layout: Layout, names: Set[str], where: str) -> Layout:
    """The layout without the named images, which become `skipped`.

    Raises:
      DataError: a class would have no image left.
    """
    excluded = np.fromiter((name in names for name in layout.items.names), np.bool_)
    items = layout.items.take(np.flatnonzero(~excluded))
    missing = tuple(name for name in layout.missing if name not in names)
    left = set(items.classes)
    for class_name in layout.classes:
        if class_name not in left:
            raise DataError(
                f"the list leaves class {class_name!r} without images", where, "shorten the list"
            )
    gone = list(layout.items.names.take(np.flatnonzero(excluded)))
    skipped = (*layout.skipped, *((name, REASON) for name in gone))
    notes = layout.notes
    unknown = names - set(gone) - set(layout.missing)
    if unknown:
        example = min(unknown)
        notes = (*notes, f"{len(unknown):,} excluded names are not in the data, such as {example}")
    return dataclasses.replace(layout, items=items, missing=missing, skipped=skipped, notes=notes)
