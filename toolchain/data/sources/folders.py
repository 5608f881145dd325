"""Class folders: `cat/*.jpg`, `dog/*.jpg`, at any depth below one folder of everything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from toolchain.data.sources.found import Found, class_name
from toolchain.data.sources.items import Item, Items, MisfitError


def find(files: Sequence[str], root: str) -> Found:
    """One item a photo.

    Raises:
      MisfitError: a photo lies beside the class folders.
    """
    root = class_root(files, root)
    return Found(Items.of(_items(files, root)), (root,))


def _items(files: Sequence[str], root: str) -> Iterator[Item]:
    for name in files:
        folder, slash, _ = name[len(root) :].partition("/")
        if not slash:
            raise MisfitError(name, "lies in no class folder")
        yield Item(name, class_name(folder))


def class_root(files: Sequence[str], root: str) -> str:
    """`root`, or the folder above it when all photos lie in one folder: that one is a class."""
    if any("/" in name[len(root) :] for name in files):
        return root
    return "".join(part + "/" for part in root.split("/")[:-2])
