"""The same pixels twice: under two labels, or in two splits. Pure functions of hashes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toolchain.columns import HASH_BYTES, Hashes
from toolchain.errors import DataError

# Where a copy stays when a layout puts it into two splits: what a number is told about is kept.
KEPT_FIRST: Final = ("test", "validation", "train")


def first_of(pictures: Hashes) -> NDArray[np.int64]:
    """For each image the place of the first with the same pixels, its own where there is none."""
    whole = np.frombuffer(pictures.packed, f"V{HASH_BYTES}")
    _, first, group = np.unique(whole, return_index=True, return_inverse=True)
    return first[group].astype(np.int64)


def refuse_two_labels(
    names: Sequence[str],
    labels: Sequence[int],
    first: NDArray[np.int64],
    classes: Sequence[str],
) -> None:
    """Every image after decoding, in the same order; `first` as `first_of` gives it.

    Raises:
      DataError: two images have the same pixels and different labels; both are named.
    """
    copies = np.flatnonzero(first != np.arange(len(first))).tolist()
    pairs = [(int(first[at]), at) for at in copies if labels[first[at]] != labels[at]]
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


def leaks(names: Sequence[str], first: NDArray[np.int64], splits: Sequence[str]) -> dict[int, str]:
    """Place -> reason of the images to leave out, so that no pixels are in two splits.

    A split that we draw has none. A given one is kept as it is, but for train images that are
    also in validation or test, and validation images that are also in test.
    """
    order = {split: rank for rank, split in enumerate(KEPT_FIRST)}
    groups: dict[int, list[int]] = {}
    for place in np.flatnonzero(first != np.arange(len(first))).tolist():
        groups.setdefault(int(first[place]), [int(first[place])]).append(place)
    found = {}
    for places in groups.values():
        best = min(places, key=lambda place: (order[splits[place]], place))
        for place in places:
            if splits[place] != splits[best]:
                found[place] = f"the same pixels are in {splits[best]}: {names[best]}"
    return dict(sorted(found.items()))
