"""The split: drawn from pixels and seed, so that no photo leaks and none moves without need."""

from __future__ import annotations

from collections import Counter

import pytest

from toolchain.data.split import assign, check
from toolchain.errors import DataError
from toolchain.recipe.sections import DataSection

HALVES = DataSection(validation=0.2, test=0.3)
RANKED = DataSection(validation=0.2, test=0.3, split="rank")
# 2,000 draws: the share of a split lies within four standard deviations of what was asked for.
SHARE_TOLERANCE = 0.04


def hashes(count: int, start: int = 0) -> list[str]:
    return [f"{index:064x}" for index in range(start, start + count)]


def free(count: int) -> list[None]:
    return [None] * count


def test_adding_photos_moves_none() -> None:
    old, new = hashes(500), hashes(300, start=500)
    before = assign(old, [0] * 500, free(500), HALVES)
    after = assign(new + old, [1] * 300 + [0] * 500, free(800), HALVES)
    assert after[300:] == before


def test_the_shares_hold_and_the_seed_changes_who_is_where() -> None:
    sha, labels = hashes(2000), [0] * 2000
    drawn = assign(sha, labels, free(2000), HALVES)
    shares = {split: count / 2000 for split, count in Counter(drawn).items()}
    assert shares == pytest.approx(
        {"train": 0.5, "validation": 0.2, "test": 0.3}, abs=SHARE_TOLERANCE
    )
    other = assign(sha, labels, free(2000), DataSection(validation=0.2, test=0.3, seed=1))
    assert other != drawn
    assert assign(sha, labels, free(2000), HALVES) == drawn


@pytest.mark.parametrize("section", [HALVES, RANKED])
def test_equal_pixels_stay_together(section: DataSection) -> None:
    sha = hashes(100) * 2
    drawn = assign(sha, [0] * 200, free(200), section)
    assert drawn[:100] == drawn[100:]
    assert len(set(drawn)) == 3


def test_rank_gives_exact_shares_of_every_class() -> None:
    labels = [0] * 100 + [1] * 40 + [2] * 10
    drawn = assign(hashes(150), labels, free(150), RANKED)
    counts = Counter(zip(labels, drawn, strict=True))
    for label, count in ((0, 100), (1, 40), (2, 10)):
        assert counts[label, "train"] == count * 0.5
        assert counts[label, "validation"] == count * 0.2
        assert counts[label, "test"] == count * 0.3


def test_a_given_split_is_kept() -> None:
    given = ["train"] * 50 + ["validation"] * 20 + ["test"] * 30
    assert assign(hashes(100), [0] * 100, given, HALVES) == given


@pytest.mark.parametrize(("present", "missing"), [("test", "validation"), ("validation", "test")])
@pytest.mark.parametrize("section", [HALVES, RANKED])
def test_a_missing_split_is_drawn_from_train_alone(present, missing, section) -> None:
    given = ["train"] * 1000 + [present] * 50
    drawn = assign(hashes(1050), [0] * 1050, given, section)
    assert drawn[1000:] == [present] * 50
    share = drawn[:1000].count(missing) / 1000
    assert share == pytest.approx(getattr(section, missing), abs=SHARE_TOLERANCE)
    assert drawn[:1000].count("train") == 1000 - drawn[:1000].count(missing)


def test_check_accepts_what_can_be_trained_on() -> None:
    assert check(["train", "validation", "test"] * 2, [0, 0, 0, 1, 1, 1], ("a", "b"), "x") == []


def test_check_notes_a_thin_class() -> None:
    splits = ["train", "validation", "test", "train", "train"]
    notes = check(splits, [0, 0, 0, 1, 1], ("cat", "dog"), "x")
    assert notes == ["class 'dog' has no photos in validation and test"]


@pytest.mark.parametrize(
    ("splits", "labels", "words"),
    [
        (["train", "validation", "test", "test"], [0, 0, 0, 1], "'dog' has no training photos"),
        (["train", "train", "test", "test"], [0, 1, 0, 1], "the validation split"),
        (["train", "train", "validation"], [0, 1, 0], "the test split"),
    ],
)
def test_check_refuses_what_cannot(splits, labels, words) -> None:
    with pytest.raises(DataError, match=words) as caught:
        check(splits, labels, ("cat", "dog"), "photos")
    assert caught.value.where == "photos"
    assert "data." in caught.value.remedy
