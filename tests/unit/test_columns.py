"""Columns: what goes in comes out, equal to a tuple of it, in a few bytes each."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.columns import Choices, Hashes, Index, Numbers, Texts, first_places
from toolchain.data.sources.items import Item, Items

# Surrogates too: they stand for the bytes of a file's name that are no UTF-8.
TEXTS = st.lists(st.text(st.characters(codec=None), max_size=8), max_size=20)
COUNT = 20_000
# A name of 20 letters with its end, two hashes, class, split and row.
BYTES_A_PHOTO = 20 + 8 + 2 * 32 + 1 + 1 + 4
# Blocks grow by an eighth and are read into in chunks.
SPARE = 1.5


def sha(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


MADE: list[tuple[Callable[[Sequence[Any]], Any], tuple[Any, ...]]] = [
    (Texts, ("a", "", "ü/ö.png", "\udcff.png", "a")),
    (Hashes.of, (sha(1), sha(2), sha(1))),
    (Numbers, (3, 0, 2**31 - 1, -4)),
    (Choices.of, ("train", None, "test", "train")),
    (Items.of, (Item("a/1", "a", "test"), Item("b/1", "b"), Item("a/2", "a"))),
]


@pytest.mark.parametrize(("make", "values"), MADE)
def test_a_column_is_the_sequence_it_was_made_of(make, values: tuple[Any, ...]) -> None:
    column = make(values)
    assert column == values
    assert list(values) == column
    assert hash(column) == hash(values)
    assert [column[at] for at in range(-len(values), len(values))] == [*values, *values]
    assert column[1:] == values[1:]
    assert column[::-1] == values[::-1]
    assert column.take(np.asarray([2, 0, 0])) == (values[2], values[0], values[0])
    assert column.take(np.arange(len(values))) == values
    assert column != values[:-1]
    assert column != (*values[1:], values[0])
    assert make(()) == ()
    for outside in (len(values), -len(values) - 1):
        with pytest.raises(IndexError):
            column[outside]


def test_text_is_no_column_of_its_letters() -> None:
    assert Texts("abc") != "abc"


@given(TEXTS)
def test_any_text_can_be_packed_and_found(texts: list[str]) -> None:
    assert list(Texts(texts)) == texts
    index = Index(Texts(texts))
    assert all(texts[index[text]] == text for text in texts)
    assert list(index) == texts


def test_an_index_of_some_knows_no_others() -> None:
    index = Index(Texts(["a", "b", "c", "d"]), np.asarray([3, 1]))
    assert dict(index) == {"d": 3, "b": 1}
    assert list(index.keys()) == ["d", "b"]
    assert ("a" in index, "b" in index, len(index)) == (False, True, 2)


def test_texts_of_equal_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolchain.columns.hash", len, raising=False)
    index = Index(Texts(["aa", "b", "cc"]))
    assert (index["aa"], index["cc"], index["b"]) == (0, 2, 1)
    with pytest.raises(KeyError):
        index["dd"]


@pytest.mark.parametrize("text", ["", "0" * 63, "z" * 64])
def test_what_is_no_hash_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Hashes.of([sha(1), text])


@given(st.lists(st.integers(0, 5), max_size=30))
def test_the_first_of_the_same(numbers: list[int]) -> None:
    # 0 and 1 share their first 8 bytes, which are compared first; 2 and 3 differ in a last zero.
    known = [bytes(32), bytes(8) + b"\1" * 24, b"\2" * 31 + b"\0", b"\2" * 31 + b"\3"]
    known += [b"\4" * 32, b"\5" * 32]
    hexes = [known[number].hex() for number in numbers]
    expected = [numbers.index(number) for number in numbers]
    assert first_places(hexes).tolist() == expected
    assert first_places(Hashes.of(hexes)).tolist() == expected


def test_choices_are_found_among_others() -> None:
    column = Choices.of(["b", "a", "b", "c"])
    assert column.among(("a", "b")).tolist() == [1, 0, 1, -1]
    assert Choices.of(str(number) for number in range(300)).codes.dtype == np.uint16


def test_a_photo_takes_a_hundred_bytes() -> None:
    tracemalloc.start()
    try:
        items = Items.of(Item(f"class/{at:010}.png", "class", "train") for at in range(COUNT))
        hashes = [np.zeros((COUNT, 32), np.uint8) for _ in range(2)]
        rows = Numbers(np.arange(COUNT))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(items) == len(rows) == len(hashes[0])
    assert most < SPARE * BYTES_A_PHOTO * COUNT
