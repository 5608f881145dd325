"""A confusion matrix -> how well each class is told, and which are taken for one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class on the test split; a share that would divide by zero is None.

    Attributes:
      name: of the class.
      count: images of it.
      precision: share of the images called so that are so.
      recall: share of its images that were called so.
      f1: harmonic mean of the two.
    """

    name: str
    count: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, slots=True)
class Mistake:
    """So many images of class `true` were called `predicted`; `share` is of all of `true`."""

    true: str
    predicted: str
    count: int
    share: float


def class_rows(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> tuple[ClassRow, ...]:
    """Precision, recall and F1 of every class, in the order of the labels.

    precision = TP / (TP + FP), recall = TP / (TP + FN), F1 = 2 TP / (2 TP + FP + FN)
    (van Rijsbergen, "Information Retrieval", 1979).

    Args:
      classes: n names.
      confusion: n rows of n counts, confusion[true][predicted].
    """
    matrix = np.asarray(confusion, dtype=np.int64).reshape(len(classes), len(classes))
    right, true, called = np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    return tuple(
        ClassRow(
            name=name,
            count=int(true[at]),
            precision=_share(int(right[at]), int(called[at])),
            recall=_share(int(right[at]), int(true[at])),
            f1=_share(2 * int(right[at]), int(true[at] + called[at])),
        )
        for at, name in enumerate(classes)
    )


def most_confused(
    classes: Sequence[str], confusion: Sequence[Sequence[int]], limit: int = 10
) -> tuple[Mistake, ...]:
    """The pairs of classes with the most mistakes, most first, at most `limit` of them."""
    matrix = np.asarray(confusion, dtype=np.int64).reshape(len(classes), len(classes)).copy()
    totals = matrix.sum(axis=1)
    np.fill_diagonal(matrix, 0)
    order = np.argsort(-matrix, axis=None, kind="stable")[:limit]
    pairs = (np.unravel_index(flat, matrix.shape) for flat in order)
    return tuple(
        Mistake(classes[t], classes[p], int(matrix[t, p]), float(matrix[t, p] / totals[t]))
        for t, p in pairs
        if matrix[t, p]
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
