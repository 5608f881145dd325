"""Photos in one folder whose names begin with their class, as Kaggle gives them: `cat.123.jpg`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from toolchain.data.sources.items import Item, MisfitError

_NAME: Final = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)\.\d+\.[A-Za-z]+")


def items(files: Sequence[str], root: str) -> Iterator[Item]:
    """One item a photo.

    Raises:
      MisfitError: a name has another form or lies deeper.
    """
    for name in files:
        match = _NAME.fullmatch(name.rsplit("/", 1)[-1])
        if match is None or "/" in name.removeprefix(root):
            raise MisfitError(name)
        yield Item(name, match.group(1))


def empty_folders(files: Sequence[str], folders: Sequence[str], root: str) -> list[str]:
    """None: no folder is a class here."""
    return []
