"""Names of files -> labelled items, for the layouts that names alone tell. The first fit is taken.

Sources whose lists, tables or arrays must be read are found in source.py, before these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from toolchain.data.containers import Entry
from toolchain.data.sources import folders, kaggle_names, split_folders
from toolchain.data.sources.base import Layout, check_classes, common_root, image_names, is_hidden
from toolchain.data.sources.items import Item, Items, MisfitError
from toolchain.errors import DataError

__all__ = ["LAYOUTS", "Item", "Layout", "recognise"]


@dataclass(frozen=True, slots=True)
class NameLayout:
    """A layout that the names of the photos tell.

    Attributes:
      items: photos and the folder they share -> items; raises MisfitError where they do not fit.
      empty: photos, folders and the shared folder -> class folders without photos.
    """

    items: Callable[[Sequence[str], str], Iterable[Item]]
    empty: Callable[[Sequence[str], Sequence[str], str], list[str]]


LAYOUTS: Final = {
    "split-folders": NameLayout(split_folders.items, split_folders.empty_folders),
    "kaggle-names": NameLayout(kaggle_names.items, kaggle_names.empty_folders),
    "folders": NameLayout(folders.items, folders.empty_folders),
}
_REMEDY: Final = "put the photos of each class into a folder of its own: photos/cat/*.jpg"


def recognise(entries: Sequence[Entry], source: str, where: str) -> Layout:
    """Find the layout of the entries; `source` names one, or is "auto".

    Raises:
      DataError: no photos, no known layout, fewer than two classes, or a class without photos.
    """
    files = image_names(entries)
    if not len(files):
        raise DataError("expected photos, found none", where, _REMEDY)
    root = common_root(files)
    candidates = LAYOUTS if source == "auto" else {source: LAYOUTS[source]}
    for name, layout in candidates.items():
        try:
            items = Items.of(layout.items(files, root))
        except MisfitError:
            continue
        inside = [e.name for e in entries if e.is_folder and not is_hidden(e.name)]
        _refuse_empty(layout.empty(files, inside, root), where)
        classes = tuple(sorted(items.classes.values))
        check_classes(classes, where, "give the folder above the class folders")
        return Layout(name, classes, items.by_name())
    raise DataError(f"the photos are in no known layout ({source})", where, _REMEDY)


def _refuse_empty(empty: Sequence[str], where: str) -> None:
    for folder in empty:
        raise DataError(f"the class folder {folder!r} holds no photos", where, "fill or delete it")
