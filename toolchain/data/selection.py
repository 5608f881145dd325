"""Which decoded images become the dataset: their splits, copies left out, the limit kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.columns import Choices, Hashes, Numbers, Places
from toolchain.data.duplicates import leaks, refuse_two_labels
from toolchain.data.limit import within
from toolchain.data.sources.items import Items
from toolchain.data.split import ThinError, assign, check
from toolchain.errors import DataError
from toolchain.recipe.sections import DataSection
from toolchain.values import SPLITS, Split

# The split and the label of each photo.
_Step = tuple[Sequence[Split | None], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Selection:
    """What was chosen of a list of images.

    Attributes:
      places: positions in that list, ascending.
      labels, splits: one for each place.
      skipped: (name, reason) of copies that were left out.
      notes: one sentence each.
    """

    places: Places
    labels: Numbers
    splits: Choices[Split]
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def select(
    items: Items,
    sha256: Hashes,
    classes: Sequence[str],
    section: DataSection,
    where: str,
) -> Selection:
    """Split and limit the images that were decoded.

    Args:
      items: the images that could be decoded.
      sha256: hash of each one's pixels.
      classes: names in the order of the labels.
      section: says the shares, the seed, the method and the limit.
      where: what to call the data in an error.

    Raises:
      DataError: the same pixels have two labels; a class without train images, or no images at
        all in a split.
    """
    names, labels = items.names, Numbers(items.labels(classes))
    refuse_two_labels(names, labels, sha256, classes)
    drawn = Choices.of(assign(sha256, labels, items.splits, section))
    copies, free, kept = taken(names, sha256, labels, drawn, section)
    unlimited = drawn.take(free)
    splits, own = drawn.take(kept), labels.take(kept)
    notes = [*_limited(Counter(unlimited), Counter(splits))]
    try:
        notes += check(splits, own, classes, where)
    except ThinError as error:
        earlier = ((unlimited, labels.take(free)), (drawn, labels), (items.splits, labels))
        raise DataError(error.what, where, _remedy(error, *earlier)) from error
    skipped = tuple((names[place], reason) for place, reason in copies.items())
    return Selection(kept, own, splits, skipped, tuple(notes))


def taken(
    names: Sequence[str],
    sha256: Hashes,
    labels: Numbers,
    splits: Choices[Split],
    section: DataSection,
) -> tuple[dict[int, str], Places, Places]:
    """Which images are taken: without copies in other splits, within the limit.

    Returns:
      Place of a copy -> why it is left out; places of all others; and of those within the limit,
      int64 [n] each, ascending.
    """
    copies = leaks(names, sha256, splits)
    is_free = np.ones(len(names), np.bool_)
    is_free[list(copies)] = False
    free = np.flatnonzero(is_free)
    own, drawn = labels.take(free), splits.take(free)
    kept = within(sha256.take(free), own, drawn, section.limit, section.seed)
    return copies, free, free[kept]


def _remedy(lack: ThinError, unlimited: _Step, drawn: _Step, given: _Step) -> str:
    """What helps against the step that took the photos away: the limit, copies, or the draw."""
    if _has(unlimited, lack.label, lack.split):
        return f"raise data.limit.{lack.split}, so that each class has a photo"
    if _has(drawn, lack.label, lack.split):
        return "add other photos: these are also in another split, which keeps them"
    if lack.split != "train" or _has(given, lack.label, None, "train"):
        return lack.remedy
    return "add photos of it to train: the split is given, and has none"


def _has(step: _Step, label: int | None, *splits: Split | None) -> bool:
    pairs = zip(*step, strict=True)
    return any(split in splits and label in (None, own) for split, own in pairs)


def _limited(before: Mapping[Split, int], after: Mapping[Split, int]) -> list[str]:
    return [
        f"limit: {after[split]:,} of {before[split]:,} {split} images"
        for split in SPLITS
        if after[split] < before[split]
    ]
