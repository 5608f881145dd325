"""What of the decoded photos becomes the dataset, as a user meets it."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photo_files import class_folders, photo, write_folder
from PIL import Image

from toolchain.data.stage import build_dataset
from toolchain.errors import DataError
from toolchain.images.preprocess import Frame, pixels_of
from toolchain.recipe import parse_recipe
from toolchain.values import Dataset

CLASSES = ("cat", "dog")


def build(tmp_path: Path, files: dict[str, bytes], size: int = 32, **data: Any) -> Dataset:
    path = write_folder(tmp_path / "photos", files)
    (out := tmp_path / "out").mkdir()
    table = {"data": {"path": str(path), **data}, "input": {"size": size}}
    return build_dataset(parse_recipe(table, name="x"), out)


def grey(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (28, 28), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_limit_is_exact_and_its_pixels_are_the_right_ones(tmp_path: Path) -> None:
    files = class_folders(each=40)
    limit = {"train": 20, "validation": 5, "test": 6}
    dataset = build(tmp_path, files, split="rank", validation=0.2, test=0.2, limit=limit)
    assert Counter(dataset.splits) == limit
    per_class = Counter(zip(dataset.labels, dataset.splits, strict=True))
    assert (per_class[0, "train"], per_class[1, "train"]) == (10, 10)
    assert "limit: 20 of 48 train images" in dataset.notes
    pixels = dataset.pixels()
    for place, name in enumerate(dataset.names):
        np.testing.assert_array_equal(pixels[place], pixels_of(files[name], name, Frame(32)))


def test_the_same_pixels_under_two_labels_stop_the_stage(tmp_path: Path) -> None:
    copies = {"cat/copy.png": photo(5000), "dog/copy.bmp": photo(5000, kind="BMP")}
    with pytest.raises(DataError) as caught:
        build(tmp_path, {**class_folders(each=8), **copies})
    assert "cat/copy.png is 'cat' and dog/copy.bmp is 'dog'" in caught.value.what


def test_a_copy_of_a_test_photo_is_left_out_of_train(tmp_path: Path) -> None:
    names = [
        f"{s}/{c}/{n}.png" for s in ("train", "val", "test") for c in CLASSES for n in range(3)
    ]
    files = {name: photo(seed) for seed, name in enumerate(names)}
    files["train/cat/2.png"] = files["test/cat/0.png"]
    dataset = build(tmp_path, files)
    assert dataset.skipped == (("train/cat/2.png", "the same pixels are in test: test/cat/0.png"),)
    assert Counter(dataset.splits) == {"train": 5, "validation": 6, "test": 6}


@pytest.mark.parametrize("cause", ["limit", "copies", "given", "drawn"])
def test_what_helps_a_class_without_training_photos(cause: str, tmp_path: Path) -> None:
    names = [
        f"{s}/{c}/{n}.png" for s in ("train", "val", "test") for c in CLASSES for n in range(3)
    ]
    files = {name: photo(seed) for seed, name in enumerate(names)}
    more: dict[str, Any] = {}
    if cause == "limit":
        more = {"limit": {"train": 1}}
    elif cause == "copies":
        files |= {f"train/dog/{n}.png": files[f"test/dog/{n}.png"] for n in range(3)}
    elif cause == "given":
        files = {name: data for name, data in files.items() if not name.startswith("train/dog")}
    else:
        files = {**class_folders(("cat",), each=8), "dog/1.png": photo(500)}
        more = {"split": "rank", "validation": 0.4, "test": 0.4}
    with pytest.raises(DataError, match="class 'dog' has no training photos") as caught:
        build(tmp_path, files, **more)
    words = {"limit": "raise data.limit.train", "copies": "in another split", "given": "is given"}
    assert words.get(cause, "change data.seed") in caught.value.remedy


def test_small_and_grey_photos_are_told(tmp_path: Path) -> None:
    files = {name: grey(seed) for seed, name in enumerate(class_folders(each=8))}
    notes = build(tmp_path, files, size=48, split="rank").notes
    assert "photos of 28x28 pixels (median of 16 looked at) are enlarged to 48x48" in notes
    assert "grey photos are repeated to three channels" in notes


def test_one_class_of_small_photos_is_told(tmp_path: Path) -> None:
    large = {f"a/{n:03}.png": photo(n, (60, 50)) for n in range(80)}
    small = {f"b/{n:03}.png": photo(100 + n, (20, 30)) for n in range(80)}
    notes = build(tmp_path, large | small, size=48, split="rank").notes
    said = "(median of 32 looked at), about 50% of all, are enlarged to 48x48"
    assert f"photos of 20x30 pixels {said}" in notes


def test_large_photos_in_colour_need_no_note(tmp_path: Path) -> None:
    files = {name: photo(seed, (40, 50)) for seed, name in enumerate(class_folders(each=8))}
    assert build(tmp_path, files, split="rank").notes == ("layout: folders",)
