"""Class folders below train/, val/ (or valid/, validation/) and test/; the split is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from toolchain.data.sources.base import SPLIT_NAMES
from toolchain.data.sources.items import Item, MisfitError


def items(files: Sequence[str], root: str) -> Iterator[Item]:
    """One item a photo with its split.

    Raises:
      MisfitError: a photo lies elsewhere.
    """
    for name in files:
        parts = name.removeprefix(root).split("/")
        split = SPLIT_NAMES.get(parts[0].lower())
        if split is None or len(parts) < 3:
            raise MisfitError(name)
        yield Item(name, parts[1], split)


def empty_folders(files: Sequence[str], folders: Sequence[str], root: str) -> list[str]:
    """Folders that stand where class folders stand, and hold no photo."""
    filled = {"/".join(name.removeprefix(root).split("/")[:2]) for name in files}
    inside = [folder.removeprefix(root) for folder in folders if folder.startswith(root)]
    pairs = [f for f in inside if f.count("/") == 1 and f not in filled]
    return sorted(f for f in pairs if f.split("/")[0].lower() in SPLIT_NAMES)
