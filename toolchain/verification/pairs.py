"""Two answers to each photo: where a file and the float file differ, and whether by chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolchain.values import Flip, Paired
from toolchain.verification.metrics import Probabilities, top1
from toolchain.verification.statistics import mcnemar, paired_difference


@dataclass(frozen=True, slots=True, eq=False)
class Photos:
    """The photos that every file was asked about.

    Attributes:
      rows: int64 [n], their positions in the Dataset.
      names: theirs in their source.
      labels: int64 [n], their classes.
    """

    rows: NDArray[np.int64]
    names: tuple[str, ...]
    labels: NDArray[np.int64]


def compare(
    found: Probabilities, baseline: Probabilities, photos: Photos, name: str
) -> tuple[Paired, tuple[Flip, ...]]:
    """The accuracies of two files on the same photos, and the photos they call differently.

    Args:
      found, baseline: float32 [n, classes], of the file and of what it is held against.
      name: of the latter.
    """
    after, before = top1(found), top1(baseline)
    right, was_right = after == photos.labels, before == photos.labels
    gained, lost = int(np.sum(right & ~was_right)), int(np.sum(~right & was_right))
    difference = paired_difference(was_right, right)
    flips = tuple(
        Flip(
            index=int(photos.rows[at]),
            name=photos.names[at],
            label=int(photos.labels[at]),
            before=int(before[at]),
            after=int(after[at]),
        )
        for at in np.flatnonzero(after != before)
    )
    return Paired(name, gained, lost, difference, mcnemar(lost, gained)), flips
