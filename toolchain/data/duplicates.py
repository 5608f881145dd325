"""The same pixels twice: under two labels, or in two splits. Pure functions of hashes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

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
    first: dict[str, int] = {}
    pairs = [
        (other, place)
        for place, sha in enumerate(sha256)
        if labels[other := first.setdefault(sha, place)] != labels[place]
    ]
    if not pairs:
        return
    one, two = pairs[0]
    more = f" (and {len(pairs) - 1} more pairs)" if len(pairs) > 1 else ""
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
    order = {split: rank for rank, split in enumerate(KEPT_FIRST)}
    best: dict[str, int] = {}
    for place, sha in enumerate(sha256):
        holder = best.setdefault(sha, place)
        if order[splits[place]] < order[splits[holder]]:
            best[sha] = place
    return {
        place: f"the same pixels are in {splits[best[sha]]}: {names[best[sha]]}"
        for place, sha in enumerate(sha256)
        if splits[place] != splits[best[sha]]
    }
