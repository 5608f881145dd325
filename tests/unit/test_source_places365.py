"""Places365 as published: two lists and a flat folder, in every arrangement that people have."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest
from photo_files import photo, write_folder, write_tar, write_zip

from toolchain.data.source import find_source, open_source
from toolchain.data.split import assign
from toolchain.data.stage import build_dataset
from toolchain.errors import DataError
from toolchain.recipe import Recipe, parse_recipe
from toolchain.recipe.sections import DataSection

CATEGORIES = b"/a/airfield 0\n/a/apartment_building/outdoor 1\n/b/bow_window/indoor 2\n"
PLACES = {0: "airfield", 1: "apartment_building/outdoor"}
IDS = [1, 0, 0, 1]


def image(number: int) -> str:
    return f"Places365_val_{number + 1:08}.jpg"


def listed(ids: list[int]) -> bytes:
    return "".join(f"{image(number)} {label}\n" for number, label in enumerate(ids)).encode()


def files(images: str = "", lists: str = "") -> dict[str, bytes]:
    return {
        f"{lists}places365_val.txt": listed(IDS),
        f"{lists}categories_places365.txt": CATEGORIES,
        **{f"{images}{image(n)}": photo(n, kind="JPEG") for n in range(len(IDS))},
    }


def recipe(path: Path, **data: object) -> Recipe:
    return parse_recipe({"data": {"path": str(path), **data}, "input": {"size": 32}}, name="x")


@pytest.mark.parametrize(
    ("images", "lists"),
    [("", ""), ("val_256/", ""), ("val_256/", "filelist/"), ("a/val_256/", "a/lists/")],
)
@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
def test_lists_and_photos_are_found(tmp_path: Path, images: str, lists: str, kind: str) -> None:
    write = {"folder": write_folder, "zip": write_zip, "tar.gz": write_tar}[kind]
    path = write(tmp_path / ("x" if kind == "folder" else f"x.{kind}"), files(images, lists))
    source = find_source(path)
    assert source.layout.name == "places365"
    assert source.layout.classes == ("airfield", "apartment_building/outdoor")
    read = {item.name: (item.class_name, data) for item, data in source.read()}
    assert read == {
        f"{images}{image(n)}": (PLACES[label], photo(n, kind="JPEG")) for n, label in enumerate(IDS)
    }


def test_a_category_without_photos_is_told(tmp_path: Path) -> None:
    layout = find_source(write_folder(tmp_path / "x", files())).layout
    assert "1 categories have no photos and are left out" in layout.notes


def test_a_listed_photo_that_is_not_there(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "x", files())
    (path / image(0)).unlink()
    with pytest.raises(DataError, match=f"1 listed images are not there, the first: {image(0)}"):
        open_source(recipe(path))
    layout = open_source(recipe(path, on_bad_image="skip")).layout
    assert layout.skipped == ((image(0), "listed, but not there"),)
    assert len(layout.items) == 3


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("places365_val.txt", b"a.jpg\n", "line 1: expected `name number`"),
        ("places365_val.txt", b"../a.jpg 0\n", "line 1: expected `name number`"),
        ("places365_val.txt", b"a.jpg 7\n", "category 7, which categories_places365.txt"),
        ("places365_val.txt", b"a.jpg 0\na.jpg 1\n", "lines 1 and 2 both name a.jpg"),
        ("places365_val.txt", b"a.jpg \xff\n", "expected UTF-8 text"),
        ("places365_val.txt", b"a.jpg 0\n", "at least two classes, found none"),
        ("categories_places365.txt", b"airfield 0\n", "line 1: expected `name number`"),
    ],
)
def test_a_list_that_cannot_be_used(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = write_folder(tmp_path / "x", {**files(), name: content})
    with pytest.raises(DataError) as caught:
        find_source(path)
    assert words in caught.value.what


def test_the_published_split_has_its_published_counts() -> None:
    """As docs/data.md writes it: 29,200 to learn from, 365 of them for validation, 7,300 test."""
    labels = [number // 100 for number in range(36_500)]
    hashes = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(36_500)]
    section = DataSection(split="rank", test=0.2, validation=0.01, seed=1)
    splits = assign(hashes, labels, [None] * 36_500, section)
    assert Counter(splits) == {"train": 28_835, "validation": 365, "test": 7300}
    assert set(Counter(zip(labels, splits, strict=True)).values()) == {79, 1, 20}


def test_a_stratified_split_of_the_layout_is_exact(tmp_path: Path) -> None:
    classes, each = 365, 20  # a fifth of the published photos: 5,840 and 1,460
    names = "".join(f"/c/class_{n:03} {n}\n" for n in range(classes))
    ids = [n % classes for n in range(classes * each)]
    pictures = {image(n): bmp(n) for n in range(len(ids))}
    path = write_tar(
        tmp_path / "places.tar",
        {
            "categories_places365.txt": names.encode(),
            "places365_val.txt": listed(ids),
            **{f"val_256/{name}": data for name, data in pictures.items()},
        },
    )
    (out := tmp_path / "out").mkdir()
    dataset = build_dataset(recipe(path, split="rank", test=0.2, validation=0.05, seed=1), out)
    assert len(dataset.classes) == classes
    counts = Counter(dataset.splits)
    assert counts == {"train": 15 * 365, "validation": 365, "test": 4 * 365}
    assert counts["train"] + counts["validation"] == 5840
    assert set(Counter(zip(dataset.labels, dataset.splits, strict=True)).values()) == {15, 1, 4}


def bmp(number: int) -> bytes:
    """A 1x1 photo of a colour that no other number has."""
    pixel = number.to_bytes(3, "little") + b"\0"
    header = b"BM" + (58).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    sizes = [(40, 4), (1, 4), (1, 4), (1, 2), (24, 2), *[(0, 4)] * 6]
    return header + b"".join(value.to_bytes(size, "little") for value, size in sizes) + pixel
