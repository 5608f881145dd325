"""Photos whose names begin with their class, as Kaggle gives them: `cat.123.jpg`.

They lie in one folder, or in folders of splits; beside train/, photos called `1.jpg` in test1/ have
no class and are left aside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from toolchain.data.sources.found import Found, Top, class_name, placed, tops
from toolchain.data.sources.items import Item, Items, MisfitError

_NAME: Final = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)\.\d+\.[A-Za-z]+")
_OTHER: Final = "has no name like cat.123.jpg"


def find(files: Sequence[str], root: str) -> Found:
    """One item a photo.

    Raises:
      MisfitError: a name has another form or lies deeper.
    """
    if not any("/" in name[len(root) :] for name in files):
        return Found(Items.of(_flat(files)))
    found = tops(files, root)
    named, odd = _sorted_out(files, root, found)
    aside = [top for top in found.values() if top.name not in named and top.split in ("test", None)]
    for top in found.values():
        if top not in aside and top.name in odd:
            raise MisfitError(odd[top.name], _OTHER)
    kept = any(found[name].split != "train" for name in named)
    items = (
        Item(name, class_name(match[1]), top.split if kept else None)
        for name, top, path in placed(files, root, found)
        if top.name in named and (match := _NAME.fullmatch(path))
    )
    return Found(Items.of(items), (), tuple(top.left_aside() for top in aside))


def _flat(files: Sequence[str]) -> Iterator[Item]:
    for name in files:
        match = _NAME.fullmatch(name.rsplit("/", 1)[-1])
        if match is None:
            raise MisfitError(name, _OTHER)
        yield Item(name, match[1])


def _sorted_out(
    files: Sequence[str], root: str, found: dict[str, Top]
) -> tuple[set[str], dict[str, str]]:
    """Folders in which a photo's name has a class, and of each folder a photo's that has none."""
    named: set[str] = set()
    odd: dict[str, str] = {}
    for name, top, path in placed(files, root, found):
        if "/" in path:
            raise MisfitError(name, "lies in a folder")
        if _NAME.fullmatch(path):
            named.add(top.name)
        else:
            odd.setdefault(top.name, name)
    if not named:
        raise MisfitError(next(iter(files)), _OTHER)
    return named, odd
