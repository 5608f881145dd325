"""Per-class numbers from confusion matrices, against scikit-learn's definitions by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.report.classes import class_rows, most_confused

CLASSES = ("cat", "dog", "owl")
#            called cat, dog, owl
MATRIX = ((8, 2, 0), (1, 5, 0), (0, 3, 1))


def test_precision_recall_and_f1() -> None:
    cat, dog, owl = class_rows(CLASSES, MATRIX)
    assert (cat.count, dog.count, owl.count) == (10, 6, 4)
    assert cat.precision == pytest.approx(8 / 9)
    assert cat.recall == pytest.approx(8 / 10)
    assert dog.precision == pytest.approx(5 / 10)
    assert dog.recall == pytest.approx(5 / 6)
    assert dog.f1 == pytest.approx(2 * 0.5 * (5 / 6) / (0.5 + 5 / 6))
    assert owl.precision == 1.0


def test_a_class_that_is_never_called_and_never_seen_has_no_numbers() -> None:
    rows = class_rows(("seen", "missed", "absent"), ((2, 0, 0), (3, 0, 0), (0, 0, 0)))
    assert (rows[1].precision, rows[1].recall, rows[1].f1) == (None, 0.0, 0.0)
    assert (rows[2].precision, rows[2].recall, rows[2].f1) == (None, None, None)


def test_the_most_confused_come_first_and_right_answers_do_not_count() -> None:
    pairs = most_confused(CLASSES, MATRIX)
    assert [(one.true, one.predicted, one.count) for one in pairs] == [
        ("owl", "dog", 3),
        ("cat", "dog", 2),
        ("dog", "cat", 1),
    ]
    assert pairs[0].share == 3 / 4
    assert len(most_confused(CLASSES, MATRIX, limit=1)) == 1


@given(st.lists(st.lists(st.integers(0, 50), min_size=4, max_size=4), min_size=4, max_size=4))
def test_every_image_is_counted_once(matrix: list[list[int]]) -> None:
    rows = class_rows("abcd", matrix)
    wrong = sum(one.count for one in most_confused("abcd", matrix, limit=16))
    right = sum(matrix[at][at] for at in range(4))
    assert sum(row.count for row in rows) == right + wrong
