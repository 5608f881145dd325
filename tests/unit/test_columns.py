"""Packed names and hashes: what goes in comes out, in a fraction of the room."""

from __future__ import annotations

import hashlib
import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.columns import Hashes, Names, PhotoTable
from toolchain.errors import ModelError

# Lone surrogates too: Python's form of file names that are no UTF-8.
TEXT = st.text(st.characters(codec=None))


def sums(count: int) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]


def table(names: list[str]) -> PhotoTable:
    count = len(names)
    rows = tuple(range(count))
    return PhotoTable(("train",) * count, ("a b",) * count, rows, Hashes.of(sums(count)), names)


@given(st.lists(TEXT))
def test_names_come_back_as_they_went_in(names: list[str]) -> None:
    packed = Names(names)
    assert list(packed) == names
    assert [packed[at] for at in range(-len(names), len(names))] == names * 2
    assert packed[1:3] == tuple(names[1:3])
    assert packed == Names(iter(names))
    assert packed != Names([*names, "one more"])


def test_a_position_outside_is_an_error() -> None:
    for packed in (Names(["a", "b"]), Hashes.of(sums(2))):
        with pytest.raises(IndexError):
            packed[2]


def test_hashes_come_back_as_text() -> None:
    assert list(Hashes.of(sums(5))) == sums(5)


def test_a_photo_takes_less_than_half_of_what_texts_take() -> None:
    def made() -> list[str]:
        return [f"train/aeroplane/aeroplane_s_{number:06}.png" for number in range(10_000)]

    tracemalloc.start()
    packed = Names(made()), Hashes.of(sums(10_000))
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    texts = sum(map(sys.getsizeof, made())) + sum(map(sys.getsizeof, sums(10_000)))
    assert taken < texts / 2
    assert len(packed[0]) == len(packed[1]) == 10_000


@given(st.lists(TEXT, max_size=5))
def test_a_saved_table_is_what_is_loaded(tmp_path_factory, names: list[str]) -> None:
    path = tmp_path_factory.mktemp("table") / "photos.tsv"
    saved = table(names)
    saved.save(path)
    loaded = PhotoTable.load(path)
    assert list(loaded.names) == names
    assert (loaded.splits, loaded.classes, loaded.sha256) == (
        saved.splits,
        saved.classes,
        saved.sha256,
    )
    assert tuple(loaded.rows) == saved.rows


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text.replace("split", "part"),
        lambda text: text[:-9],
        lambda text: text.replace("\t0\t", "\tzero\t"),
        lambda text: text.replace('"a.jpg"', "a.jpg"),
        lambda text: text.replace(sums(1)[0], "short"),
    ],
    ids=["empty", "other columns", "cut off", "row", "name", "hash"],
)
def test_a_damaged_table_is_told(damage, tmp_path) -> None:
    path = tmp_path / "photos.tsv"
    table(["a.jpg", "b.jpg"]).save(path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(ModelError) as caught:
        PhotoTable.load(path)
    assert caught.value.where == str(path)
