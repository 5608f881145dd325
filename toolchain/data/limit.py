"""At most so many images, their classes in proportion: for `data.limit`, and to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from toolchain.columns import Places
from toolchain.data.split import positions
from toolchain.recipe.sections import LimitSection
from toolchain.values import SPLITS, Dataset, Split


def within(
    sha256: Sequence[str],
    labels: Sequence[int],
    splits: Sequence[str],
    limit: LimitSection,
    seed: int,
) -> Places:
    """Places of the images that stay, int64 [n] ascending; all of them where nothing is limited.

    Inside a class the images of the lowest hash stay, so which ones depends on their pixels and
    the seed alone, and a larger limit keeps those of a smaller one.
    """
    kept = np.ones(len(splits), np.bool_)
    of_image, where = np.asarray(labels), None
    for split in SPLITS:
        most = getattr(limit, split)
        own = np.fromiter((one == split for one in splits), np.bool_, len(splits))
        if most is None or most >= own.sum():
            continue
        where = positions(sha256, seed) if where is None else where
        present, numbers = np.unique(of_image[own], return_counts=True)
        quotas = shares(most, dict(zip(present.tolist(), numbers.tolist(), strict=True)))
        for label, quota in quotas.items():
            places = np.flatnonzero(own & (of_image == label))
            kept[places[np.argsort(where[places], kind="stable")[quota:]]] = False
    return np.flatnonzero(kept).astype(np.int64)


def drawn(labels: NDArray[np.int64], most: int | None, seed: int) -> Places:
    """Places of at most so many of the images, int64 [n] ascending, drawn from the seed.

    Never the first ones: layouts are read class by class.

    Args:
      labels: int64 [images], their classes.
      most: how many; None takes all.
    """
    present, numbers = np.unique(labels, return_counts=True)
    quotas = shares(most, dict(zip(present.tolist(), numbers.tolist(), strict=True)))
    order = np.random.default_rng(seed).permutation(len(labels))
    chosen = [order[labels[order] == label][:quota] for label, quota in quotas.items()]
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)


def drawn_rows(dataset: Dataset, split: Split, most: int | None, seed: int) -> NDArray[np.int64]:
    """Rows of at most so many images of a split, ascending; see `drawn`."""
    rows = dataset.indices(split)
    return rows[drawn(dataset.label_array()[rows], most, seed)]


def shares(total: int | None, counts: Mapping[int, int]) -> dict[int, int]:
    """`total` divided in proportion to `counts`, exactly: largest remainders get what is left.

    A total of None, or one above the sum of the counts, gives everyone their count.
    """
    everything = sum(counts.values())
    if total is None or total >= everything:
        return dict(counts)
    parts = {label: divmod(total * count, everything) for label, count in counts.items()}
    left = total - sum(whole for whole, _ in parts.values())
    by_remainder = sorted(parts, key=lambda label: (-parts[label][1], label))
    extra = set(by_remainder[:left])
    return {label: whole + (label in extra) for label, (whole, _) in parts.items()}
