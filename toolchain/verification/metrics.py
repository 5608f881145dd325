"""Measures of agreement between two sets of probabilities, and of either with the truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float32]


def top1(probabilities: Probabilities) -> NDArray[np.int64]:
    """The most probable class of each row of [n, classes], int64 [n]; the first one of a tie."""
    return np.asarray(np.argmax(probabilities, axis=1), dtype=np.int64)


def agreement(first: Probabilities, second: Probabilities) -> float:
    """Share of rows with the same top-1, 0..1; both are [n, classes] with n at least 1."""
    return float(np.mean(top1(first) == top1(second)))


def disagreements(
    candidate: Probabilities, reference: Probabilities, tie_margin: float
) -> NDArray[np.int64]:
    """Rows with another top-1 whose two best classes in `reference` lie `tie_margin` apart."""
    if reference.shape[1] < 2:
        return np.empty(0, np.int64)
    best = np.sort(reference, axis=1)[:, -2:]
    decided = best[:, 1] - best[:, 0] >= tie_margin
    different = top1(candidate) != top1(reference)
    return np.flatnonzero(different & decided).astype(np.int64)


def max_difference(first: Probabilities, second: Probabilities) -> float:
    """Largest absolute difference of one probability, 0..1: max |first - second|."""
    return float(np.max(np.abs(first.astype(np.float64) - second)))


def mean_difference(first: Probabilities, second: Probabilities) -> float:
    """Mean over the rows of the largest difference of one probability in each, 0..1.

    Unlike the largest of all it does not grow with the number of rows, and unlike the mean of all
    it does not shrink with the number of classes.
    """
    return float(np.mean(np.max(np.abs(first.astype(np.float64) - second), axis=1)))


def accuracy(probabilities: Probabilities, labels: NDArray[np.int64]) -> float:
    """Share of rows whose top-1 is the label, 0..1."""
    return float(np.mean(top1(probabilities) == labels))


def among_best(probabilities: Probabilities, labels: NDArray[np.int64], best: int) -> int:
    """How many rows have their label among the `best` most probable classes.

    A class as probable as the label's and before it in order goes first, as in `top1`.
    """
    own = probabilities[np.arange(len(labels)), labels][:, None]
    before = np.arange(probabilities.shape[1]) < labels[:, None]
    ahead = (probabilities > own) | ((probabilities == own) & before)
    return int(np.sum(ahead.sum(axis=1) < best))


def confusion(probabilities: Probabilities, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts, int64 [classes, classes]: rows are the true class, columns the predicted one."""
    classes = probabilities.shape[1]
    cells = labels * classes + top1(probabilities)
    counts = np.bincount(cells, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def sum_error(probabilities: Probabilities) -> float:
    """How far the sum of a row is from 1 at most."""
    return float(np.max(np.abs(probabilities.sum(axis=1, dtype=np.float64) - 1.0)))


def telling(
    probabilities: Probabilities, labels: NDArray[np.int64], each: int = 4
) -> NDArray[np.int64]:
    """A few photos to look at: the surest mistakes, and right ones of as many classes.

    Of the photos that are right, each class in turn gives its most ordinary one, the one with the
    median confidence.

    Returns:
      int64 positions, at most `each` mistakes, then at most `each` that are right.
    """
    called, sure = top1(probabilities), probabilities.max(axis=1)
    wrong = np.flatnonzero(called != labels)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")][:each]
    ordinary: list[int] = []
    for label in range(probabilities.shape[1]):
        right = np.flatnonzero((called == labels) & (labels == label))
        if len(right) and len(ordinary) < each:
            ordinary.append(int(right[np.argsort(sure[right], kind="stable")[len(right) // 2]]))
    return np.concatenate([wrong, np.asarray(ordinary, np.int64)]).astype(np.int64)
