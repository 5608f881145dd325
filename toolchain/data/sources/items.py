"""The images of a source, packed: some 12 bytes each and their names (see columns.py)."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolchain.columns import Choices, Column, Places, Texts
from toolchain.values import Split


@dataclass(frozen=True, slots=True)
class Item:
    """An image that has a class, and a split where the layout gives one."""

    name: str
    class_name: str
    split: Split | None = None


class MisfitError(Exception):
    """A name that the layout which is tried does not have; another layout is tried then.

    Attributes:
      name: of a photo or folder.
      why: it does not fit; "NAME WHY" is a sentence.
    """

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} {why}")
        self.name = name
        self.why = why


class Items(Column[Item]):
    """Images in a fixed order; an `Item` is made when it is asked for.

    Attributes:
      names, classes, splits: one an image.
    """

    __slots__ = ("classes", "names", "splits")

    def __init__(self, names: Texts, classes: Choices[str], splits: Choices[Split | None]) -> None:
        self.names, self.classes, self.splits = names, classes, splits

    @staticmethod
    def of(items: Iterable[Item]) -> Items:
        """Packed in their order; an iterator is read once."""
        classes: dict[str, int] = {}
        splits: dict[Split | None, int] = {}
        class_codes, split_codes = array("L"), array("B")

        def names() -> Iterator[str]:
            for item in items:
                class_codes.append(classes.setdefault(item.class_name, len(classes)))
                split_codes.append(splits.setdefault(item.split, len(splits)))
                yield item.name

        texts = Texts(names())
        return Items(
            texts,
            Choices(classes, np.asarray(class_codes)),
            Choices(splits, np.asarray(split_codes)),
        )

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Item]:
        return map(Item, self.names, self.classes, self.splits)

    def _at(self, place: int) -> Item:
        return Item(self.names[place], self.classes[place], self.splits[place])

    def take(self, places: Places) -> Items:
        """See `Column.take`."""
        return Items(self.names.take(places), self.classes.take(places), self.splits.take(places))

    def by_name(self) -> Items:
        """In the order of their names."""
        if all(one <= two for one, two in itertools.pairwise(self.names)):
            return self  # as folders are listed
        order = sorted(range(len(self)), key=self.names.__getitem__)
        return self.take(np.asarray(order, np.int64))

    def labels(self, classes: Sequence[str]) -> NDArray[np.int64]:
        """Each image's class as a position in `classes`, int64 [count]."""
        return self.classes.among(classes)
