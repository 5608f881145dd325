"""Copies of an image: the same pixels, or the same look; under two labels, in two splits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.columns import Choices, Hashes, Places, first_places
from toolchain.data.audit.findings import Finding, Kind
from toolchain.data.audit.near import NearGroup
from toolchain.data.duplicates import KEPT_FIRST
from toolchain.data.sources.items import Items
from toolchain.values import Split


@dataclass(frozen=True, slots=True)
class Placed:
    """The good images with their hashes and splits, in the order read."""

    items: Items
    sha256: Hashes
    splits: Choices[Split]

    def sorted(self, members: Iterable[int]) -> list[int]:
        """Positions with the one to keep first."""
        return sorted(members, key=lambda at: (KEPT_FIRST.index(self.splits[at]), at))

    def names(self, members: Iterable[int]) -> tuple[str, ...]:
        """Names at these positions."""
        return tuple(self.items.names[at] for at in members)

    def classes(self, members: Iterable[int]) -> list[str]:
        """Their class names, each once, sorted."""
        return sorted({self.items.classes[at] for at in members})

    def splits_of(self, members: Iterable[int]) -> list[str]:
        """Their splits, each once, the one that is kept first."""
        return list(dict.fromkeys(self.splits[at] for at in self.sorted(members)))


def exact_groups(sha256: Sequence[str]) -> list[list[int]]:
    """Positions of equal hashes, every group of two or more, in the order of their first."""
    first = first_places(sha256)
    groups: dict[int, list[int]] = {}
    for position in np.flatnonzero(first != np.arange(len(first))).tolist():
        head = int(first[position])
        groups.setdefault(head, [head]).append(position)
    return [groups[head] for head in sorted(groups)]


def exact_findings(placed: Placed) -> Iterator[Finding]:
    """One finding for every group of images with the same pixels."""
    for group in exact_groups(placed.sha256):
        members = placed.sorted(group)
        names, classes = placed.names(members), placed.classes(members)
        splits = placed.splits_of(members)
        if len(classes) > 1:
            # Which label is right, only a person can tell: without them, none is learned.
            yield Finding(Kind.TWO_LABELS, names, " and ".join(classes), names)
        elif len(splits) > 1:
            yield Finding(Kind.SPLIT_DUPLICATE, names, " and ".join(splits), names[1:])
        else:
            yield Finding(Kind.DUPLICATE, names, "", names[1:])


def near_findings(placed: Placed, groups: Iterable[NearGroup]) -> Iterator[Finding]:
    """One finding for every group of images that look the same, two when it has two faults."""
    for group in groups:
        members = placed.sorted(group.members)
        names, classes = placed.names(members), placed.classes(members)
        splits = placed.splits_of(members)
        alike = f"correlation {group.correlation:.3f}"
        if len(classes) > 1:
            yield Finding(Kind.NEAR_TWO_LABELS, names, f"{' and '.join(classes)}, {alike}")
        if len(splits) > 1:
            others = [at for at in members if placed.splits[at] != splits[0]]
            yield Finding(
                Kind.NEAR_SPLIT_DUPLICATE,
                names,
                f"{' and '.join(splits)}, {alike}",
                placed.names(others),
            )
        if len(classes) == 1 and len(splits) == 1:
            yield Finding(Kind.NEAR_DUPLICATE, names, alike)


def kept_of_each(placed: Placed) -> Places:
    """Positions of one image of each picture, the copy to keep, int64 [n], ascending."""
    first = first_places(placed.sha256)
    is_kept = first == np.arange(len(first))
    for group in exact_groups(placed.sha256):
        is_kept[group[0]] = False
        is_kept[placed.sorted(group)[0]] = True
    return np.flatnonzero(is_kept).astype(np.int64)
