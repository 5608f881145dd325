"""Names of files -> labelled items. Each layout is one function; the first that fits is taken."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from toolchain.data.containers import Entry
from toolchain.errors import DataError
from toolchain.images.decode import SUFFIXES
from toolchain.values import Split

_SPLIT_NAMES: Final[dict[str, Split]] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
_KAGGLE: Final = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)\.\d+\.[A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Item:
    """An image that has a class, and a split where the layout gives one."""

    name: str
    class_name: str
    split: Split | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """What was recognised.

    Attributes:
      name: of the layout, as `data.source` names it.
      classes: sorted names.
      items: one an image, sorted by name.
    """

    name: str
    classes: tuple[str, ...]
    items: tuple[Item, ...]


def recognise(entries: Sequence[Entry], source: str, where: str) -> Layout:
    """Find the layout of the entries; `source` names one, or is "auto".

    Raises:
      DataError: no photos, no known layout, fewer than two classes, or a class without photos.
    """
    files = [e.name for e in entries if not e.is_folder and _is_image(e.name)]
    folders = [e.name for e in entries if e.is_folder and not _is_hidden(e.name)]
    if not files:
        raise DataError("expected photos, found none", where, _REMEDY)
    root = _common_root(files)
    candidates = LAYOUTS if source == "auto" else {source: LAYOUTS[source]}
    for name, read in candidates.items():
        items = read(files, root)
        if items is not None:
            return _checked(name, items, folders, root, where)
    raise DataError(f"the photos are in no known layout ({source})", where, _REMEDY)


_REMEDY: Final = "put the photos of each class into a folder of its own: photos/cat/*.jpg"


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES and not _is_hidden(name)


def _common_root(files: Sequence[str]) -> str:
    """The folder all files share, as "a/b/" or ""; archives often hold one folder of everything."""
    first, last = min(files).split("/")[:-1], max(files).split("/")[:-1]
    shared = []
    for left, right in zip(first, last, strict=False):
        if left != right:
            break
        shared.append(left)
    return "".join(part + "/" for part in shared)


def _split_folders(files: Sequence[str], root: str) -> list[Item] | None:
    items = []
    for name in files:
        parts = name.removeprefix(root).split("/")
        split = _SPLIT_NAMES.get(parts[0].lower())
        if split is None or len(parts) < 3:
            return None
        items.append(Item(name, parts[1], split))
    return items


def _folders(files: Sequence[str], root: str) -> list[Item] | None:
    root = _class_root(files, root)
    items = []
    for name in files:
        parts = name.removeprefix(root).split("/")
        if len(parts) < 2:
            return None
        items.append(Item(name, parts[0]))
    return items


def _class_root(files: Sequence[str], root: str) -> str:
    """`root`, or the folder above it when all photos lie in one folder: that one is a class."""
    if any("/" in name.removeprefix(root) for name in files):
        return root
    return "".join(part + "/" for part in root.split("/")[:-2])


def _kaggle_names(files: Sequence[str], root: str) -> list[Item] | None:
    items = []
    for name in files:
        match = _KAGGLE.fullmatch(name.rsplit("/", 1)[-1])
        if match is None or "/" in name.removeprefix(root):
            return None
        items.append(Item(name, match.group(1)))
    return items


LAYOUTS: Final[dict[str, Callable[[Sequence[str], str], list[Item] | None]]] = {
    "split-folders": _split_folders,
    "kaggle-names": _kaggle_names,
    "folders": _folders,
}


def _checked(name: str, items: list[Item], folders: Sequence[str], root: str, where: str) -> Layout:
    classes = sorted({item.class_name for item in items})
    for folder in _empty_class_folders(name, items, folders, root):
        raise DataError(f"the class folder {folder!r} holds no photos", where, "fill or delete it")
    if len(classes) < 2:
        raise DataError(
            f"expected at least two classes, found one: {classes[0]}",
            where,
            "give the folder above the class folders",
        )
    for class_name in classes:
        if not class_name.isprintable():
            raise DataError(
                f"expected class names of printable text, found {class_name!r}",
                where,
                "rename the folder",
            )
    return Layout(name, tuple(classes), tuple(sorted(items, key=lambda item: item.name)))


def _empty_class_folders(
    name: str, items: list[Item], folders: Sequence[str], root: str
) -> list[str]:
    """Folders that stand where class folders stand, and hold no photo."""
    if name == "kaggle-names":
        return []
    files = [item.name for item in items]
    root, depth = (_class_root(files, root), 1) if name == "folders" else (root, 2)
    filled = {"/".join(file.removeprefix(root).split("/")[:depth]) for file in files}
    inside = [folder.removeprefix(root) for folder in folders if folder.startswith(root)]
    empty = [f for f in inside if f and f.count("/") == depth - 1 and f not in filled]
    if name == "split-folders":
        empty = [folder for folder in empty if folder.split("/")[0].lower() in _SPLIT_NAMES]
    return sorted(empty)
