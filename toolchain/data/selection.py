"""Which decoded images become the dataset: their splits, copies left out, the limit kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.data.duplicates import leaks, refuse_two_labels
from toolchain.data.limit import within
from toolchain.data.sources.base import Item
from toolchain.data.split import assign, check
from toolchain.recipe.sections import DataSection
from toolchain.values import SPLITS, Split


@dataclass(frozen=True, slots=True)
class Selection:
    """What was chosen of a list of images.

    Attributes:
      places: positions in that list, ascending.
      labels, splits: one for each place.
      skipped: (name, reason) of copies that were left out.
      notes: one sentence each.
    """

    places: tuple[int, ...]
    labels: tuple[int, ...]
    splits: tuple[Split, ...]
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def select(
    items: Sequence[Item],
    sha256: Sequence[str],
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
    names = [item.name for item in items]
    index = {name: position for position, name in enumerate(classes)}
    labels = [index[item.class_name] for item in items]
    refuse_two_labels(names, labels, sha256, classes)
    drawn = assign(sha256, labels, [item.split for item in items], section)
    copies = leaks(names, sha256, drawn)
    free = [place for place in range(len(items)) if place not in copies]
    inside = within(
        [sha256[place] for place in free],
        [labels[place] for place in free],
        [drawn[place] for place in free],
        section.limit,
        section.seed,
    )
    places = [free[position] for position in inside]
    splits = [drawn[place] for place in places]
    own = [labels[place] for place in places]
    notes = [*_limited([drawn[place] for place in free], splits)]
    notes += check(splits, own, classes, where)
    skipped = tuple((names[place], reason) for place, reason in copies.items())
    return Selection(tuple(places), tuple(own), tuple(splits), skipped, tuple(notes))


def _limited(before: Sequence[Split], after: Sequence[Split]) -> list[str]:
    return [
        f"limit: {after.count(split):,} of {before.count(split):,} {split} images"
        for split in SPLITS
        if after.count(split) < before.count(split)
    ]
