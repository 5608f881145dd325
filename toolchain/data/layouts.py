"""Names of files -> labelled items, for the layouts that names alone tell. The first fit is taken.

Sources whose lists, tables or arrays must be read are found in source.py, before these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from toolchain.columns import Texts
from toolchain.data.containers import Entry
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
from toolchain.data.sources.unfilled import told_aside, told_splits
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
            notes += _splits_as_classes(found, misfit, where)
        notes += told_aside(entries, links, files, found.parents, where)
        notes += told_splits(entries, links, files, _above_splits(root, name), where)
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


def _splits_as_classes(found: Found, misfit: MisfitError, where: str) -> list[str]:
    """What to say of a class that is named as a split: a flat folder of photos.

    Raises:
      UnlabelledError: several are, or one holds folders, which are the classes then.
    """
    splits = sorted(name for name in found.items.classes.values if split_of(name))
    is_split = len(splits) > 1 or any(
        name.startswith(inside) and "/" in name[len(inside) :]
        for inside in (f"{parent}{split}/" for parent in found.parents for split in splits)
        for name in found.items.names
    )
    if is_split:
        are = (
            "folders {} are named as splits" if len(splits) > 1 else "folder {} is named as a split"
        )
        raise UnlabelledError(
            f"the {are.format(', '.join(splits[:4]))}, but {misfit}",
            where,
            'move it, or set data.source = "folders" where they are classes',
        )
    return [f"the folder {name} is taken as a class" for name in splits]


def _above_splits(root: str, layout: str) -> list[str]:
    """The folders whose folders are splits, as "a/b/" or "": of the layout, and above `root`."""
    parts = root.split("/")[:-1]
    above = [place for place, part in enumerate(parts) if split_of(part)]
    folders = ["".join(f"{part}/" for part in parts[:place]) for place in above]
    return [*folders, root] if layout in ("split-folders", "kaggle-names") else folders
