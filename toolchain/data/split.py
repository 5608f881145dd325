"""Which image goes into which split, drawn from its pixels and a seed; equal pixels stay together.

By "content" an image's split depends on nothing else: adding images moves none of the others, and
every class is cut at the same thresholds of a uniform hash, so its shares hold in expectation.
By "rank" the images of a class are ordered by the same hash and cut at exact shares; adding
images then moves a few that lie near a cut.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import DataError
from toolchain.recipe.sections import DataSection
from toolchain.values import SPLITS, Split


class ThinError(DataError):
    """A split lacks the photos of a class, or has none at all.

    Attributes:
      split, label: what is lacking; the label is None where all are.
    """

    def __init__(self, what: str, where: str, remedy: str, split: Split, label: int | None) -> None:
        super().__init__(what, where, remedy)
        self.split = split
        self.label = label


def position(sha256: str, seed: int) -> float:
    """A number in [0, 1) that depends on the image's pixels and the seed alone."""
    digest = hashlib.sha256(f"{seed}:{sha256}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def assign(
    sha256: Sequence[str],
    labels: Sequence[int],
    given: Sequence[Split | None],
    section: DataSection,
) -> list[Split]:
    """One split an image; a given split is kept.

    Where the layout gives test but no validation images, `validation` is a share of its train
    images, and the other way round.

    Args:
      sha256: hash of each image's pixels.
      labels: each image's class.
      given: the split its layout gives, or None.
      section: says the shares, the seed and the method.
    """
    drawn: list[Split] = [split or "train" for split in given]
    present = set(given)
    test = 0.0 if "test" in present else section.test
    validation = 0.0 if "validation" in present else section.validation
    where = positions(sha256, section.seed)
    free = np.fromiter((split in (None, "train") for split in given), np.bool_)
    if section.split == "rank":
        where = _ranked(where, np.asarray(labels), free)
    for index in np.flatnonzero(free & (where < test)):
        drawn[index] = "test"
    for index in np.flatnonzero(free & (test <= where) & (where < test + validation)):
        drawn[index] = "validation"
    return drawn


def positions(sha256: Sequence[str], seed: int) -> NDArray[np.float64]:
    """The `position` of each, float64 [count]."""
    return np.fromiter((position(sha, seed) for sha in sha256), np.float64, len(sha256))


def _ranked(
    where: NDArray[np.float64], labels: NDArray[np.integer], free: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Each position replaced by its rank among the distinct positions of its class, in [0, 1)."""
    ranked = where.copy()
    for label in np.unique(labels[free]):
        own = free & (labels == label)
        distinct, rank = np.unique(where[own], return_inverse=True)
        ranked[own] = (rank + 0.5) / len(distinct)
    return ranked


def check(
    splits: Sequence[str], labels: Sequence[int], classes: Sequence[str], where: str
) -> list[str]:
    """Refuse a split that cannot be trained on; returns notes on one that is merely thin.

    Raises:
      ThinError: a class without train images, or no validation or test images at all.
    """
    present = set(zip(splits, labels, strict=True))
    notes = []
    for label, name in enumerate(classes):
        missing = [split for split in SPLITS if (split, label) not in present]
        if "train" in missing:
            what = f"class {name!r} has no training photos"
            raise ThinError(what, where, "add photos or change data.seed", "train", label)
        if missing:
            notes.append(f"class {name!r} has no photos in {' and '.join(missing)}")
    for split in SPLITS:
        if split not in set(splits):
            what = f"no photos fell into the {split} split"
            remedy = f"add photos, or raise data.{split} or change data.seed"
            raise ThinError(what, where, remedy, split, None)
    return notes
