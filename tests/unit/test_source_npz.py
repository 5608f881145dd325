"""Arrays in a `.npz`: what is read, and what a hostile or damaged file meets."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photo_files import write_folder, write_zip
from PIL import Image

from toolchain.data.source import find_source
from toolchain.errors import DataError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 9, 7), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 9, 7, 3), dtype=np.uint8)
LABELS = np.array([2, 10, 2, 1, 1, 10])
# Reading is row by row: far below the 60 MB that the images of the test take.
MEMORY = 16 * 2**20


def save(tmp_path: Path, **arrays: Any) -> Path:
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    return tmp_path / "x.npz"


def pixels(path: Path) -> np.ndarray[Any, Any]:
    return np.stack([np.asarray(Image.open(io.BytesIO(d))) for _, d in find_source(path).read()])


@pytest.mark.parametrize(
    ("images", "expected"), [(GREY, GREY), (GREY[..., None], GREY), (COLOUR, COLOUR)]
)
def test_grey_and_colour(tmp_path: Path, images: Any, expected: Any) -> None:
    path = save(tmp_path, images=images, labels=LABELS)
    layout = find_source(path).layout
    assert (layout.name, layout.classes) == ("npz", ("1", "2", "10"))
    assert [item.class_name for item in layout.items] == list(map(str, LABELS))
    assert layout.items[4].name == "images/4"
    np.testing.assert_array_equal(pixels(path), expected)


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["cat", "dog"] * 3),
        np.array([b"cat", b"dog"] * 3),
        np.array([["cat"], ["dog"]] * 3),
    ],
)
def test_labels_of_text(tmp_path: Path, labels: Any) -> None:
    layout = find_source(save(tmp_path, images=GREY, labels=labels)).layout
    assert [item.class_name for item in layout.items] == ["cat", "dog"] * 3


def test_arrays_named_as_keras_and_medmnist_name_them_keep_their_split(tmp_path: Path) -> None:
    path = save(tmp_path, x_train=GREY, y_train=LABELS, x_test=COLOUR[:2], y_test=LABELS[:2])
    layout = find_source(path).layout
    assert [item.split for item in layout.items] == ["train"] * 6 + ["test"] * 2
    assert [item.name for item in layout.items][-1] == "x_test/1"
    path = save(tmp_path, val_images=GREY, val_labels=LABELS[:, None])
    assert {item.split for item in find_source(path).layout.items} == {"validation"}


def test_names_in_capitals_and_labels_of_truth(tmp_path: Path) -> None:
    layout = find_source(save(tmp_path, X_train=GREY, Y_train=LABELS > 2)).layout
    assert (layout.classes, layout.items[0].name) == (("False", "True"), "X_train/0")
    assert {item.split for item in layout.items} == {"train"}


def test_names_that_numpy_does_not_give_are_no_arrays(tmp_path: Path) -> None:
    """`X_TRAIN.NPY` was found and then looked for as `X_TRAIN.npy`."""
    path = save(tmp_path, x_train=GREY, y_train=LABELS)
    with zipfile.ZipFile(path) as archive:
        members = {name.upper(): archive.read(name) for name in archive.namelist()}
    with pytest.raises(DataError, match=r"found X_TRAIN\.NPY"):
        find_source(write_zip(tmp_path / "y.zip", members).rename(tmp_path / "y.npz"))


def test_arrays_that_unpack_without_a_bound_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path, images=GREY, labels=LABELS)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("more.npy", b"")
    with pytest.raises(DataError, match="stored or deflated"):
        find_source(path)


@pytest.mark.parametrize(
    "images",
    [
        (COLOUR / 255).astype(np.float32),
        (COLOUR / 127.5 - 1).astype(np.float16),
        COLOUR.astype(np.float64),
        COLOUR.astype(np.int64),
        COLOUR.astype(np.uint16) * 256,
        COLOUR.transpose(0, 3, 1, 2),
        (COLOUR / 255).transpose(0, 3, 1, 2),
        np.asfortranarray(COLOUR),
        np.concatenate([COLOUR, COLOUR[..., :1]], axis=3),
    ],
)
def test_what_the_remedy_makes_of_images_is_read_and_equals_them(tmp_path: Path, images) -> None:
    with pytest.raises(DataError) as caught:
        find_source(save(tmp_path, images=images, labels=LABELS))
    made = eval(caught.value.remedy.removeprefix("convert it: "), {"np": np, "images": images})
    found = pixels(save(tmp_path, images=made, labels=LABELS))
    # float16 holds -1 to 1 in steps of half a level.
    np.testing.assert_allclose(found.astype(int), COLOUR, atol=1 if images.itemsize == 2 else 0)


def test_what_the_remedy_makes_of_images_of_truth(tmp_path: Path) -> None:
    images = GREY > 127
    with pytest.raises(DataError) as caught:
        find_source(save(tmp_path, images=images, labels=LABELS))
    made = eval(caught.value.remedy.removeprefix("convert it: "), {"np": np, "images": images})
    np.testing.assert_array_equal(pixels(save(tmp_path, images=made, labels=LABELS)) > 0, images)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.eye(2)[LABELS % 2], "argmax"),
        (np.eye(2, dtype=np.uint8)[LABELS % 2], "argmax"),
        (np.eye(2, dtype=bool)[LABELS % 2], "argmax"),
        (LABELS.astype(float), "astype(int)"),
    ],
)
def test_what_to_do_with_labels_of_other_kinds(tmp_path: Path, labels: Any, words: str) -> None:
    with pytest.raises(DataError) as caught:
        find_source(save(tmp_path, images=GREY, labels=labels))
    assert words in caught.value.remedy


def test_several_files_and_one_in_an_archive_are_told(tmp_path: Path) -> None:
    data = save(tmp_path, images=GREY, labels=LABELS).read_bytes()
    with pytest.raises(DataError, match=r"x\.npz lies in an archive"):
        find_source(write_zip(tmp_path / "y.zip", {"x.npz": data}))
    folder = write_folder(tmp_path / "y", {"train.npz": data, "test.npz": data})
    with pytest.raises(DataError, match=r"found several: test\.npz, train\.npz"):
        find_source(folder)


def test_a_folder_with_nothing_but_the_file(tmp_path: Path) -> None:
    save(tmp_path, images=GREY, labels=LABELS)
    assert find_source(tmp_path).layout.name == "npz"


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": GREY}, "`images` and `labels`, found a.npy"),
        ({"images": GREY.astype(np.float32), "labels": LABELS}, "received float32 [6, 9, 7]"),
        ({"images": GREY[0], "labels": LABELS}, "received uint8 [9, 7]"),
        ({"images": np.zeros((6, 9, 7, 4), np.uint8), "labels": LABELS}, "[6, 9, 7, 4]"),
        ({"images": np.zeros((6, 0, 7), np.uint8), "labels": LABELS}, "of 1 to"),
        ({"images": np.asfortranarray(GREY), "labels": LABELS}, "Fortran"),
        ({"images": GREY, "labels": LABELS[:5]}, "expected 6 labels"),
        ({"images": GREY, "labels": LABELS.astype(float)}, "whole numbers or text"),
        ({"images": GREY, "labels": np.array([None] * 6)}, "Python objects"),
        ({"images": GREY, "labels": np.array(3)}, "a list of images or labels"),
        ({"images": GREY, "labels": np.array([b"\xff", b"b"] * 3)}, "labels cannot be read"),
        ({"images": GREY, "labels": np.zeros(6, int)}, "at least two classes"),
        ({"images": GREY, "labels": np.array(["a\n", "b"] * 3)}, "printable"),
        ({f"a{n}": LABELS for n in range(65)}, "at most 64 arrays"),
    ],
)
def test_what_is_refused(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError) as caught:
        find_source(save(tmp_path, **arrays))
    assert words in caught.value.what
    assert len(caught.value.lines()) <= 3


def test_an_array_that_promises_more_than_it_has(tmp_path: Path) -> None:
    header = io.BytesIO()
    claim = {"descr": "|u1", "fortran_order": False, "shape": (6, 6000, 8000)}
    np.lib.format.write_array_header_1_0(header, claim)
    path = save(tmp_path, labels=LABELS)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("images.npy", header.getvalue() + bytes(100))
    with pytest.raises(DataError, match="ends too early"):
        list(find_source(path).read())


def test_labels_that_promise_gigabytes(tmp_path: Path) -> None:
    header = io.BytesIO()
    claim = {"descr": "<U100000000", "fortran_order": False, "shape": (6,)}
    np.lib.format.write_array_header_1_0(header, claim)
    path = save(tmp_path, images=GREY)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.npy", header.getvalue())
    with pytest.raises(DataError, match="at most 268,435,456 bytes"):
        find_source(path)


def test_images_are_read_row_by_row(tmp_path: Path) -> None:
    images = np.zeros((20, 1000, 1000, 3), np.uint8)
    path = save(tmp_path, images=images, labels=np.arange(20))
    del images
    tracemalloc.start()
    try:
        for _ in find_source(path).read():
            pass
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


def test_damaged_files_end_in_an_error_or_in_images(tmp_path: Path) -> None:
    data = bytearray(save(tmp_path, images=GREY, labels=LABELS).read_bytes())
    rng = np.random.default_rng(1)
    refused = 0
    for number in range(300):
        damaged = bytearray(data[: int(rng.integers(1, len(data)))] if number % 3 == 0 else data)
        for place in rng.integers(0, len(damaged), 8):
            damaged[place] = rng.integers(0, 256)
        (tmp_path / "y.npz").write_bytes(damaged)
        try:
            for _ in find_source(tmp_path / "y.npz").read():
                pass
        except DataError as error:
            assert len(error.lines()) <= 3
            refused += 1
    assert refused > 200
