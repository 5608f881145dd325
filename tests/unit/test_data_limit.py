"""Subsets in proportion, and the same pixels under two labels or in two splits."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.data.duplicates import leaks, refuse_two_labels
from toolchain.data.limit import drawn, shares, within
from toolchain.errors import DataError
from toolchain.recipe.sections import LimitSection


def sha(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


COUNTS = {"cat": 600, "dog": 300, "bird": 100}
LABELS = [label for label, count in enumerate(COUNTS.values()) for _ in range(count)]
HASHES = [sha(number) for number in range(len(LABELS))]
SPLIT = ["test" if number % 5 == 0 else "train" for number in range(len(LABELS))]


def kept(**limit: int) -> list[int]:
    return within(HASHES, LABELS, SPLIT, LimitSection(**limit), seed=0).tolist()


def test_without_a_limit_everything_stays() -> None:
    assert kept() == list(range(1000))


def test_a_limit_is_met_exactly_and_in_proportion() -> None:
    places = kept(train=200)
    counts = Counter((SPLIT[place], LABELS[place]) for place in places)
    assert [counts["train", label] for label in range(3)] == [120, 60, 20]
    assert [counts["test", label] for label in range(3)] == [120, 60, 20]


def test_a_larger_limit_keeps_what_a_smaller_one_kept() -> None:
    assert set(kept(train=100)) < set(kept(train=300))


def test_which_images_stay_depends_on_their_pixels_and_the_seed_alone() -> None:
    backwards = within(HASHES[::-1], LABELS[::-1], SPLIT[::-1], LimitSection(train=90), seed=0)
    assert {HASHES[::-1][p] for p in backwards} == {HASHES[p] for p in kept(train=90)}
    other = within(HASHES, LABELS, SPLIT, LimitSection(train=90), seed=1)
    assert set(other) != set(kept(train=90))


@given(
    st.dictionaries(st.integers(0, 50), st.integers(1, 1000), min_size=1),
    st.integers(1, 60_000),
)
def test_shares_are_exact_and_within_one_of_their_due(counts: dict[int, int], total: int) -> None:
    given_out = shares(total, counts)
    everything = sum(counts.values())
    assert sum(given_out.values()) == min(total, everything)
    for label, count in counts.items():
        assert 0 <= given_out[label] <= count
        assert abs(given_out[label] - min(total, everything) * count / everything) < 1


def test_the_same_pixels_under_two_labels_name_both_files() -> None:
    names = ["cat/1.jpg", "cat/2.jpg", "dog/7.jpg"]
    refuse_two_labels(names, [0, 0, 1], ["a", "a", "b"], ["cat", "dog"])
    with pytest.raises(DataError) as caught:
        refuse_two_labels(names, [0, 0, 1], ["a", "b", "a"], ["cat", "dog"])
    assert "cat/1.jpg is 'cat' and dog/7.jpg is 'dog'" in caught.value.what
    assert len(caught.value.lines()) == 3


def test_of_copies_in_two_given_splits_the_test_image_stays() -> None:
    names = ["train/a", "val/a", "test/a", "train/b", "train/b2", "val/c", "train/c"]
    splits = ["train", "validation", "test", "train", "train", "validation", "train"]
    found = leaks(names, ["a", "a", "a", "b", "b", "c", "c"], splits)
    assert found == {
        0: "the same pixels are in test: test/a",
        1: "the same pixels are in test: test/a",
        6: "the same pixels are in validation: val/c",
    }


def test_a_draw_has_every_class_in_proportion_and_is_no_beginning() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    places = drawn(labels, 100, seed=7)
    assert Counter(labels[places].tolist()) == {0: 60, 1: 30, 2: 10}
    assert (np.diff(places) > 0).all()
    assert places[labels[places] == 0].max() > 400
    assert np.array_equal(places, drawn(labels, 100, seed=7))
    assert not np.array_equal(places, drawn(labels, 100, seed=8))


@pytest.mark.parametrize("most", [None, 5, 6])
def test_a_draw_of_all_is_all(most: int | None) -> None:
    assert drawn(np.array([1, 0, 1, 1, 0]), most, seed=0).tolist() == [0, 1, 2, 3, 4]


def test_a_draw_of_nothing_is_nothing() -> None:
    assert len(drawn(np.zeros(0, np.int64), 5, seed=0)) == 0
