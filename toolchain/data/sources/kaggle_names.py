"""Photos in one folder whose names begin with their class, as Kaggle gives them: `cat.123.jpg`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from toolchain.data.sources.base import Item

_NAME: Final = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)\.\d+\.[A-Za-z]+")


def items(files: Sequence[str], root: str) -> list[Item] | None:
    """One item a photo, or None where a name has another form or lies deeper."""
    found = []
    for name in files:
        match = _NAME.fullmatch(name.rsplit("/", 1)[-1])
        if match is None or "/" in name.removeprefix(root):
            return None
        found.append(Item(name, match.group(1)))
    return found


def empty_folders(files: Sequence[str], folders: Sequence[str], root: str) -> list[str]:
    """None: no folder is a class here."""
    return []
