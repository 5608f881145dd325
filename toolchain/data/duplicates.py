"""The same pixels twice: under two labels, or in two splits. Pure functions of hashes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from toolchain.columns import first_places
from toolchain.errors import DataError

# Where a copy stays when a layout puts it into two splits: what a number is told about is kept.
KEPT_FIRST: Final = ("test", "validation", "train")


def refuse_two_labels(
    names: Sequence[str], labels: Sequence[int], sha256: Sequence[str], classes: Sequence[str]
) -> None:
    """Every image after decoding, in the same order.

    Raises:
      DataError: two images have the same pixels and different labels; both are named.
    """
    first, own = first_places(sha256), np.asarray(labels)
    wrong = np.flatnonzero(own[first] != own).tolist()
    if not wrong:
        return
    one, two = int(first[wrong[0]]), wrong[0]
    more = f" (and {len(wrong) - 1} more pairs)" if len(wrong) > 1 else ""
    raise DataError(
        f"the same pixels have two labels: {names[one]} is {classes[labels[one]]!r} and "
        f"{names[two]} is {classes[labels[two]]!r}{more}",
        names[two],
        "delete the wrong one, or list it in data.exclude",
    )


def leaks(names: Sequence[str], sha256: Sequence[str], splits: Sequence[str]) -> dict[int, str]:
    """Place -> reason of the images to leave out, so that no pixels are in two splits.

    A split that we draw has none. A given one is kept as it is, but for train images that are
    also in validation or test, and validation images that are also in test.
    """
    first = first_places(sha256)
    order = {split: rank for rank, split in enumerate(KEPT_FIRST)}
    best: dict[int, int] = {}
    # Only images that have a copy: an image is the first of its own pixels, or not the first.
    copied = np.isin(first, first[first != np.arange(len(first))])
    alike = [(place, int(first[place])) for place in np.flatnonzero(copied).tolist()]
    for place, group in alike:
        holder = best.setdefault(group, place)
        if order[splits[place]] < order[splits[holder]]:
            best[group] = place
    return {
        place: f"the same pixels are in {splits[best[group]]}: {names[best[group]]}"
        for place, group in alike
        if splits[place] != splits[best[group]]
    }
