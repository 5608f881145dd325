"""What a layout makes of the names of photos, and the folders at the top that it looks at."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from toolchain.data.sources.items import Items, MisfitError
from toolchain.data.sources.split_names import is_to_predict, split_of
from toolchain.values import Split


@dataclass(frozen=True, slots=True)
class Found:
    """The photos of a layout.

    Attributes:
      items: one a photo that has a class.
      parents: folders, as "a/b/" or "", whose folders are classes.
      notes: what was assumed or left aside, one sentence each.
    """

    items: Items
    parents: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Top:
    """A folder at the top that is named as a split, or says that its photos are to be predicted.

    Attributes:
      name: of the folder.
      start: where its photos begin: "train/", or "train/train/" where one folder repeats it.
      split: that the name means; None where the photos are to be predicted.
      classes: names of the folders in it that hold photos.
      loose: how many photos lie in none of them.
      first_loose: the first of those.
      photos: how many there are in all.
    """

    name: str
    start: str
    split: Split | None
    classes: set[str] = field(default_factory=set)
    loose: int = 0
    first_loose: str = ""
    photos: int = 0

    def left_aside(self) -> str:
        """The sentence on photos that have no class."""
        return f"{self.name}/ holds {self.photos:,} photos without a class, which are left aside"


def tops(files: Sequence[str], root: str) -> dict[str, Top]:
    """The folders directly below `root`, by their names.

    Raises:
      MisfitError: a photo lies beside them, or one of them means no split.
    """
    found = {name: _top(name, ends, root) for name, ends in _ends(files, root).items()}
    tell_eval(list(found.values()))
    for name in files:
        top = found[_head(name, root)]
        folder, slash, _ = name.removeprefix(root + top.start).partition("/")
        top.photos += 1
        if slash:
            top.classes.add(folder)
        else:
            top.loose += 1
            top.first_loose = top.first_loose or name
    return found


def class_name(folder: str) -> str:
    """A folder's name as a class: accents in one form, since systems write them in two."""
    return folder if folder.isascii() else unicodedata.normalize("NFC", folder)


def placed(
    files: Sequence[str], root: str, found: dict[str, Top]
) -> Iterator[tuple[str, Top, str]]:
    """Each photo's name, the folder at the top that it lies in, and its path from there."""
    for name in files:
        top = found[_head(name, root)]
        yield name, top, name.removeprefix(root + top.start)


def _head(name: str, root: str) -> str:
    return name[len(root) :].partition("/")[0]


def _ends(files: Sequence[str], root: str) -> dict[str, tuple[str, str]]:
    """Folder -> the first and last name in it: what they share, all that lies between shares."""
    ends: dict[str, tuple[str, str]] = {}
    for name in files:
        head, slash, _ = name[len(root) :].partition("/")
        if not slash:
            raise MisfitError(name, "lies beside the folders")
        if head not in ends:
            if split_of(head) is None and not is_to_predict(head):
                raise MisfitError(name, "lies in no folder of a split")
            ends[head] = name, name
        ends[head] = min(ends[head][0], name), max(ends[head][1], name)
    return ends


def _top(name: str, ends: tuple[str, str], root: str) -> Top:
    split = split_of(name)
    one, two = (end[len(root) :].split("/") for end in ends)
    # Unpacked twice, as training_set/training_set/cat/1.jpg; test/cat/1.jpg alone is no such case.
    same = len(one) > 2 and len(two) > 2 and one[1] == two[1]
    repeats = one[1].lower() == name.lower() or (split is not None and split_of(one[1]) == split)
    return Top(name, f"{name}/{one[1]}/" if same and repeats else f"{name}/", split)


def tell_eval(found: Sequence[Top]) -> None:
    """`eval` is the test beside train and dev, and the validation beside a test."""
    for top in found:
        others = {other.split for other in found if other is not top}
        if top.name.lower().startswith("eval") and "test" in others and "validation" not in others:
            top.split = "validation"
