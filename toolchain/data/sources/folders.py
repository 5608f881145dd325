"""Class folders: `cat/*.jpg`, `dog/*.jpg`, at any depth below one folder of everything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from toolchain.data.sources.items import Item, MisfitError


def items(files: Sequence[str], root: str) -> Iterator[Item]:
    """One item a photo.

    Raises:
      MisfitError: a photo lies beside the class folders.
    """
    root = class_root(files, root)
    for name in files:
        parts = name.removeprefix(root).split("/")
        if len(parts) < 2:
            raise MisfitError(name)
        yield Item(name, parts[0])


def class_root(files: Sequence[str], root: str) -> str:
    """`root`, or the folder above it when all photos lie in one folder: that one is a class."""
    if any("/" in name.removeprefix(root) for name in files):
        return root
    return "".join(part + "/" for part in root.split("/")[:-2])


def empty_folders(files: Sequence[str], folders: Sequence[str], root: str) -> list[str]:
    """Folders that stand where class folders stand, and hold no photo."""
    root = class_root(files, root)
    filled = {name.removeprefix(root).split("/")[0] for name in files}
    inside = [folder.removeprefix(root) for folder in folders if folder.startswith(root)]
    return sorted(f for f in inside if f and "/" not in f and f not in filled)
