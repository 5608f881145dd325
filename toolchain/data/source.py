"""Where a recipe's images come from: looks at the place and opens the source that fits it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from toolchain.columns import Index
from toolchain.data.containers import Container, FolderContainer, open_container
from toolchain.data.entries import is_hidden
from toolchain.data.exclude import read_names, without
from toolchain.data.layouts import recognise
from toolchain.data.sources import digit_csv, npz, places365, table
from toolchain.data.sources.aside import sentence, unread
from toolchain.data.sources.base import (
    ContainerSource,
    Layout,
    ListedFolder,
    Place,
    Source,
    UnlabelledError,
)
from toolchain.data.sources.digits import FINGERPRINT, open_digits
from toolchain.data.sources.items import Item
from toolchain.data.sources.photo_folder import PhotoFolder
from toolchain.data.sources.tfds import PREFIX, open_tfds
from toolchain.data.sources.tfds import fingerprint as tfds_fingerprint
from toolchain.errors import DataError
from toolchain.models import locate
from toolchain.recipe import Recipe

__all__ = ["Source", "find_source", "fingerprint", "open_source"]

# Asked in this order, before the layouts that names alone tell.
FINDERS: Final[dict[str, Callable[[Place], Source | None]]] = {
    "npz": npz.find,
    "places365": places365.find,
    "digit-csv": digit_csv.find,
    "table": table.find,
}
MISSING: Final = "listed, but not there"


def open_source(recipe: Recipe) -> Source:
    """The images that the recipe names, without those that it excludes.

    Raises:
      DataError: nothing there, no known layout, fewer than two classes, an empty class; a listed
        image is not there and the recipe does not say `on_bad_image = "skip"`.
      MachineError: a package is missing that the source needs.
    """
    data = recipe.data
    source = _opened(recipe)
    layout = source.layout
    if data.exclude:
        layout = without(layout, read_names(locate(data.exclude, "datasets")), data.exclude)
    if layout.missing and data.on_bad_image == "error":
        raise DataError(
            f"{len(layout.missing):,} listed images are not there, the first: {layout.missing[0]}",
            data.path,
            'complete the images, or set data.on_bad_image = "skip"',
        )
    skipped = (*layout.skipped, *((name, MISSING) for name in layout.missing))
    return _narrowed(source, dataclasses.replace(layout, missing=(), skipped=skipped))


def fingerprint(recipe: Recipe) -> str:
    """Changes when the recipe's images or its list of exclusions do; cheap: no image is read."""
    data = recipe.data
    if data.source == "digits":
        images = FINGERPRINT
    elif data.source.startswith(PREFIX):
        images = tfds_fingerprint(data.source)
    else:
        images = _container_of(locate(data.path, "datasets")).fingerprint()
    if not data.exclude:
        return images
    names = sorted(read_names(locate(data.exclude, "datasets")))
    text = "\n".join([images, *names])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def find_source(path: Path, source: str = "auto") -> Source:
    """The images that lie at `path`, in the layout that `source` names or that fits.

    Raises:
      DataError: nothing there, no known layout, fewer than two classes, an empty class.
    """
    container = _container_of(path)
    if isinstance(container, FolderContainer):
        return _looked_at(path, source, container)
    return _in_archive(path, source, container.fingerprint())


@functools.lru_cache(maxsize=1)
def _in_archive(path: Path, source: str, stamp: str) -> Source:
    """What lies in an archive; a command looks several times, and a look is some passes."""
    return _looked_at(path, source, _container_of(path))


def _looked_at(path: Path, source: str, container: Container) -> Source:
    place = Place(path, container, container.entries(), _links(container), source)
    finders = FINDERS if source == "auto" else {n: f for n, f in FINDERS.items() if n == source}
    found: Source | None = None
    for name, find in finders.items():
        # A table that was asked for is no other layout; of others it is told why.
        asked = name == "table" and (source == name or path.suffix.lower() in table.TABLES)
        found = table.find(place, strict=True) if asked else find(place)
        if found is not None:
            break
    if found is None and source in FINDERS:
        raise DataError(f"the layout is not {source}", str(path), 'leave data.source = "auto"')
    if found is None:
        found = ContainerSource(container, _recognised(place, source))
    return _with_notes(found, place) if isinstance(found, ContainerSource) else found


def _recognised(place: Place, source: str) -> Layout:
    try:
        return recognise(place.entries, source, str(place.path), place.links)
    except UnlabelledError as error:
        why = table.why_not(place) if source == "auto" else ""
        if not why:
            raise
        raise DataError(f"{error.what}; {why}", error.where, error.remedy) from error


def _with_notes(source: ContainerSource, place: Place) -> ContainerSource:
    """The source whose notes also say what lies beside the photos and is not read."""
    notes = [*source.layout.notes]
    if isinstance(place.container, PhotoFolder) and (runs := place.container.results()):
        notes.append(f"{', '.join(runs)}/ holds runs of the toolchain and is left aside")
    if counts := unread(place.entries, place.links):
        notes.append(sentence(counts))
    layout = dataclasses.replace(source.layout, notes=tuple(notes))
    return ContainerSource(source.container, layout)


def _links(container: Container) -> tuple[str, ...]:
    return container.links() if isinstance(container, PhotoFolder) else ()


def _opened(recipe: Recipe) -> Source:
    if recipe.data.source == "digits":
        return open_digits()
    if recipe.data.source.startswith(PREFIX):
        return open_tfds(recipe.data.source)
    return find_source(locate(recipe.data.path, "datasets"), recipe.data.source)


def _container_of(path: Path) -> Container:
    """The folder or archive at `path`; of a table or array, its folder with what belongs to it.

    Raises:
      DataError: nothing is there, it is of no known kind, or it cannot be looked at.
    """
    try:
        return _what_is_at(path)
    except OSError as error:
        raise DataError(
            f"the place of the photos cannot be looked at: {error.strerror}",
            str(path),
            "check data.path, and that the folders above it may be entered",
        ) from error


def _what_is_at(path: Path) -> Container:
    if path.is_dir():
        return PhotoFolder(path)
    suffix = path.suffix.lower()
    if not path.is_file() or suffix not in (*table.TABLES, ".npz"):
        return open_container(path)
    if is_hidden(path.name):
        raise DataError("a hidden file is not read", str(path), "rename it")
    alone = ListedFolder(path.parent, path.name)
    if suffix == ".npz" or digit_csv.is_table(alone, path.name):
        return alone
    return ListedFolder(path.parent, path.name, table.files_of(path))


class _Narrowed:
    """A source of which only the items of another layout are read."""

    def __init__(self, source: Source, layout: Layout) -> None:
        self.source = source
        self.layout = layout

    def read(self) -> Iterator[tuple[Item, bytes]]:
        """See `Source.read`."""
        wanted = Index(self.layout.items.names)
        return (pair for pair in self.source.read() if pair[0].name in wanted)


def _narrowed(source: Source, layout: Layout) -> Source:
    if isinstance(source, ContainerSource):
        return ContainerSource(source.container, layout)
    return _Narrowed(source, layout)
