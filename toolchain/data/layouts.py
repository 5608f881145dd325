"""Names of files -> labelled items, for the layouts that names alone tell. The first fit is taken.

Sources whose lists, tables or arrays must be read are found in source.py, before these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from toolchain.columns import Texts
from toolchain.data.containers import Entry
from toolchain.data.entries import folder_of, is_hidden
from toolchain.data.sources import folders, kaggle_names, split_folders
from toolchain.data.sources.aside import REMEDY, told, unread
from toolchain.data.sources.base import (
    Layout,
    UnlabelledError,
    check_classes,
    common_root,
    image_names,
)
from toolchain.data.sources.found import Found
from toolchain.data.sources.items import Item, MisfitError
from toolchain.data.sources.split_names import split_of
from toolchain.errors import DataError

__all__ = ["LAYOUTS", "Item", "Layout", "recognise"]

# Photos and the folder that they share -> Found; raises MisfitError where they do not fit.
LAYOUTS: Final[dict[str, Callable[[Sequence[str], str], Found]]] = {
    "split-folders": split_folders.find,
    "kaggle-names": kaggle_names.find,
    "folders": folders.find,
}
_REMEDY: Final = "put the photos of each class into a folder of its own: photos/cat/*.jpg"
# What `toolchain data preview` writes where it is typed.
_PREVIEW: Final = "preview.png"
# What systems leave in a folder that is empty to a person.
_NOTHING: Final = frozenset({".ds_store", "thumbs.db", "desktop.ini", ".gitkeep", ".keep"})


def recognise(
    entries: Sequence[Entry], source: str, where: str, links: Sequence[str] = ()
) -> Layout:
    """Find the layout of the entries; `source` names one, or is "auto".

    Args:
      entries: files and folders.
      source: name of a layout, or "auto".
      where: what to call the place in an error.
      links: names of links, which are not followed.

    Raises:
      DataError: no photos, no known layout, fewer than two classes, a class without photos, or
        folders of splits that would become classes.
    """
    files, aside = _without_preview(image_names(entries))
    if not len(files):
        counts = unread(entries, links)
        but = f" but {told(counts)}, which are not read" if counts else ""
        raise DataError(f"expected photos, found none{but}", where, REMEDY if counts else _REMEDY)
    root = common_root(files)
    candidates = LAYOUTS if source == "auto" else {source: LAYOUTS[source]}
    misfits: dict[str, MisfitError] = {}
    for name, find in candidates.items():
        try:
            found = find(files, root)
        except MisfitError as error:
            misfits[name] = error
            continue
        classes = tuple(sorted(found.items.classes.values))
        notes = [*aside, *found.notes]
        if source == "auto" and name == "folders":
            flat = all(file.count("/", len(root)) == 1 for file in files)
            misfit = misfits["kaggle-names" if flat else "split-folders"]
            notes += _splits_as_classes(classes, misfit, where)
        notes += _without_photos(entries, files, found, links, where)
        check_classes(classes, where, "give the folder above the class folders")
        return Layout(name, classes, found.items.by_name(), tuple(notes))
    # Where nothing lies in folders, it is the names that do not fit.
    flat = "kaggle-names" in misfits and not any("/" in file[len(root) :] for file in files)
    misfit = misfits["kaggle-names" if flat else list(misfits)[-1]]
    raise UnlabelledError(f"the photos are in no known layout ({source}): {misfit}", where, _REMEDY)


def _without_preview(files: Texts) -> tuple[Texts, list[str]]:
    if _PREVIEW not in files or len(files) == 1:
        return files, []
    return Texts(name for name in files if name != _PREVIEW), [f"{_PREVIEW} is left aside"]


def _splits_as_classes(classes: Sequence[str], misfit: MisfitError, where: str) -> list[str]:
    splits = [name for name in classes if split_of(name)]
    if len(splits) > 1:
        raise UnlabelledError(
            f"the folders {', '.join(splits[:4])} are named as splits, but {misfit}",
            where,
            'move it, or set data.source = "folders" where they are classes',
        )
    return [f"the folder {name} is taken as a class" for name in splits]


def _without_photos(
    entries: Sequence[Entry], files: Sequence[str], found: Found, links: Sequence[str], where: str
) -> list[str]:
    """One sentence a folder of other things that stands where class folders stand.

    Raises:
      DataError: one is empty, or holds what may be the photos of a class and is not read.
    """
    notes = []
    for folder in _unfilled(entries, files, found):
        inside = f"{folder}/"
        below = [e for e in entries if not e.is_folder and e.name.startswith(inside)]
        linked = [name for name in links if f"{name}/".startswith(inside)]
        counts = unread(below, linked)
        if counts:
            raise DataError(
                f"the class folder {_shown(folder, found)!r} holds no photos but {told(counts)}, "
                "which are not read",
                where,
                REMEDY,
            )
        if all(e.name.rpartition("/")[2].lower() in _NOTHING for e in below):
            raise DataError(
                f"the class folder {_shown(folder, found)!r} holds no photos",
                where,
                "fill or delete it",
            )
        notes.append(f"{_shown(folder, found)}/ holds no photos and is left aside")
    return notes


def _unfilled(entries: Sequence[Entry], files: Sequence[str], found: Found) -> list[str]:
    """Folders that stand where class folders stand, and hold no photo; sorted."""
    empty = {
        entry.name
        for entry in entries
        if entry.is_folder and folder_of(entry.name) in found.parents and not is_hidden(entry.name)
    }
    for name in files if empty else ():
        for parent in found.parents:
            if name.startswith(parent):
                empty.discard(name[: name.find("/", len(parent))])
    return sorted(empty)


def _shown(folder: str, found: Found) -> str:
    """The folder as its class is called, with that of the split where there are several."""
    parent = folder_of(folder)
    above = parent.rstrip("/").rpartition("/")[2] if len(found.parents) > 1 else ""
    return f"{above}/{folder[len(parent) :]}" if above else folder[len(parent) :]
