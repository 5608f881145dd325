"""Measures and intervals, against values worked out by hand or by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from toolchain.verification import metrics
from toolchain.verification.statistics import mcnemar, paired_difference, wilson

# Difference from scipy's own interval, which is computed in another order.
TOLERANCE = 1e-9

FIRST = np.asarray([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.5, 0.4, 0.1]], np.float32)
SECOND = np.asarray(
    [[0.6, 0.3, 0.1], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4], [0.4, 0.5, 0.1]], np.float32
)
LABELS = np.asarray([0, 1, 2, 1])


def test_agreement_difference_and_accuracy() -> None:
    assert metrics.agreement(FIRST, SECOND) == 0.5
    assert metrics.max_difference(FIRST, SECOND) == pytest.approx(0.7)
    assert metrics.accuracy(FIRST, LABELS) == 0.75
    assert metrics.accuracy(SECOND, LABELS) == 0.75


def test_confusion_counts_true_classes_in_rows() -> None:
    expected = [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert metrics.confusion(FIRST, LABELS).tolist() == expected


def test_ties_of_the_reference_are_no_disagreement() -> None:
    reference = np.asarray([[0.50002, 0.49998], [0.6, 0.4]], np.float32)
    candidate = np.asarray([[0.49998, 0.50002], [0.4, 0.6]], np.float32)
    assert metrics.disagreements(candidate, reference, 1e-4).tolist() == [1]
    assert metrics.disagreements(candidate, reference, 1e-6).tolist() == [0, 1]


def test_among_the_best_counts_a_tie_for_the_class_that_comes_first() -> None:
    rows = np.array([[0.4, 0.3, 0.2, 0.1], [0.1, 0.1, 0.4, 0.4], [0.1, 0.2, 0.3, 0.4]], np.float32)
    labels = np.array([1, 3, 0])
    assert [metrics.among_best(rows, labels, best) for best in (1, 2, 3, 4)] == [0, 2, 2, 3]
    firsts = np.array([0, 2, 3])
    assert metrics.among_best(rows, firsts, 1) == 3 == np.sum(metrics.top1(rows) == firsts)


def test_sum_error_tells_logits_from_probabilities() -> None:
    assert metrics.sum_error(FIRST) < 1e-6
    assert metrics.sum_error(FIRST * 3) == pytest.approx(2.0)


@given(st.integers(1, 5000), st.floats(0, 1))
def test_wilson_is_scipys(trials: int, share: float) -> None:
    successes = round(share * trials)
    found = wilson(successes, trials)
    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert found.value == successes / trials
    assert found.low == pytest.approx(expected.low, abs=TOLERANCE)
    assert found.high == pytest.approx(expected.high, abs=TOLERANCE)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 5)])
def test_wilson_refuses_counts_that_are_none(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= successes"):
        wilson(successes, trials)


def test_mcnemar_is_the_exact_binomial_test() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(0, 6) == mcnemar(6, 0) == pytest.approx(2 / 64)
    assert mcnemar(2, 8) == pytest.approx(2 * (1 + 10 + 45) / 1024)


def test_a_paired_difference_is_newcombes() -> None:
    """His worked example: 36 right twice, 12 and 2 once, none never; 0.2 (0.0569 to 0.3404)."""
    first = np.asarray([True] * 36 + [False] * 12 + [True] * 2)
    second = np.asarray([True] * 36 + [True] * 12 + [False] * 2)
    found = paired_difference(first, second)
    assert found.value == pytest.approx(0.2)
    assert found.low == pytest.approx(0.0569, abs=1e-4)
    assert found.high == pytest.approx(0.3404, abs=1e-4)


def test_equal_answers_have_an_interval_around_zero_that_more_photos_narrow() -> None:
    few, many = (paired_difference(*[np.arange(n) % 10 > 0] * 2) for n in (50, 5000))
    assert few.value == many.value == 0
    assert few.low < many.low < 0 < many.high < few.high
