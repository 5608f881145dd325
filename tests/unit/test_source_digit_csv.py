"""Kaggle's digit competition as downloaded: train.csv with labels, test.csv without."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from photo_files import class_folders, photo, write_folder, write_zip
from PIL import Image

from toolchain.data.source import find_source, fingerprint
from toolchain.data.sources.digit_csv import MAX_SIDE, read_unlabelled
from toolchain.errors import DataError
from toolchain.recipe import parse_recipe

HEADER = ",".join(f"pixel{number}" for number in range(784))
IMAGES: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
LABELS = (3, 1, 4, 1, 5, 9)


def table(labels: bool = True, images: NDArray[np.uint8] = IMAGES) -> bytes:
    lines = [f"label,{HEADER}" if labels else HEADER]
    for label, image in zip(LABELS, images, strict=True):
        pixels = ",".join(map(str, image.ravel()))
        lines.append(f"{label},{pixels}" if labels else pixels)
    return ("\n".join(lines) + "\n").encode()


def decoded(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)))


def kaggle(path: Path) -> Path:
    files = {
        "train.csv": table(),
        "test.csv": table(labels=False),
        "sample_submission.csv": b"ImageId,Label\n1,0\n",
    }
    return write_zip(path, files) if path.suffix == ".zip" else write_folder(path, files)


@pytest.mark.parametrize("name", ["digits", "digits.zip", "digits/train.csv"])
def test_every_row_becomes_its_image(tmp_path: Path, name: str) -> None:
    kaggle(tmp_path / name.partition("/")[0])
    source = find_source(tmp_path / name)
    assert source.layout.name == "digit-csv"
    assert source.layout.classes == ("1", "3", "4", "5", "9")
    read = list(source.read())
    assert [item.name for item, _ in read] == [f"train.csv:{line}" for line in range(2, 8)]
    assert [item.class_name for item, _ in read] == list(map(str, LABELS))
    np.testing.assert_array_equal([decoded(data) for _, data in read], IMAGES)


def test_pixels_counted_from_1_as_fashion_mnist_has_them(tmp_path: Path) -> None:
    header = ",".join(f"pixel{number}" for number in range(1, 785))
    data = table().replace(HEADER.encode(), header.encode())
    path = write_folder(tmp_path, {"fashion-mnist_train.csv": data, "fashion-mnist_test.csv": data})
    source = find_source(path)
    assert [item.split for item in source.layout.items] == ["test"] * 6 + ["train"] * 6
    found = [decoded(data) for _, data in source.read()]
    np.testing.assert_array_equal(found[6:], IMAGES)


def test_a_table_without_labels_is_left_out_aloud(tmp_path: Path) -> None:
    notes = find_source(kaggle(tmp_path / "x")).layout.notes
    assert "test.csv has no labels and is left out" in notes
    assert any("28x28 grey rows of train.csv" in note for note in notes)


def test_alone_a_table_without_labels_cannot_be_trained_on(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="set to predict"):
        find_source(kaggle(tmp_path / "x") / "test.csv")


def test_a_table_to_predict_gives_numbers_and_images(tmp_path: Path) -> None:
    rows = list(read_unlabelled(kaggle(tmp_path / "x") / "test.csv"))
    assert [number for number, _ in rows] == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal([image for _, image in rows], IMAGES)
    with pytest.raises(DataError, match="pixel0"):
        list(read_unlabelled(tmp_path / "x" / "sample_submission.csv"))
    with pytest.raises(DataError, match="pixel0"):
        list(read_unlabelled(tmp_path / "nothing.csv"))


def test_two_labelled_tables_are_splits_or_a_question(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "x", {"train.csv": table(), "test.csv": table()})
    splits = [item.split for item in find_source(path).layout.items]
    assert splits == ["test"] * 6 + ["train"] * 6
    (path / "test.csv").rename(path / "more.csv")
    with pytest.raises(DataError, match="several tables have labels"):
        find_source(path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"7," + b",".join([b"0"] * 783), "line 8: expected 784 pixels, received 783"),
        (b"7," + b",".join([b"0"] * 785), "line 8: expected 784 pixels, received 785"),
        (b"7," + b",".join([b"256"] + [b"0"] * 783), "line 8: expected whole numbers of 0 to 255"),
        (b"7," + b",".join([b"-1"] + [b"0"] * 783), "line 8: expected whole numbers of 0 to 255"),
        (b"7," + b",".join([b"0.5"] + [b"0"] * 783), "line 8: expected whole numbers of 0 to 255"),
        (b"7," + b"9" * 1_000_000, "line 8 has more than"),
        (b",0", "line 8: expected a label"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_by_its_line(
    tmp_path: Path, line: bytes, words: str
) -> None:
    path = write_folder(tmp_path / "x", {"train.csv": table() + line + b"\n"})
    with pytest.raises(DataError) as caught:
        list(find_source(path).read())
    assert words in caught.value.what
    assert caught.value.where.endswith("train.csv")


def test_the_fingerprint_of_a_table_is_its_own(tmp_path: Path) -> None:
    path = kaggle(tmp_path / "x")
    recipe = parse_recipe({"data": {"path": str(path / "train.csv")}}, name="x")
    before = fingerprint(recipe)
    (path / "test.csv").unlink()
    assert fingerprint(recipe) == before
    (path / "train.csv").write_bytes(table(images=255 - IMAGES)[:-1])
    assert fingerprint(recipe) != before


@pytest.mark.parametrize("quote", ["", '"'])
def test_the_largest_side(tmp_path: Path, quote: str) -> None:
    header = ",".join(f"{quote}pixel{number}{quote}" for number in range(MAX_SIDE**2))
    row = ",".join(["7"] * MAX_SIDE**2)
    path = write_folder(tmp_path, {"t.csv": f"label,{header}\n0,{row}\n1,{row}\n".encode()})
    assert [decoded(data).shape for _, data in find_source(path).read()] == [(MAX_SIDE,) * 2] * 2


@pytest.mark.parametrize("labels", [True, False])
def test_a_table_of_pixels_among_class_folders_is_not_meant(tmp_path: Path, labels: bool) -> None:
    path = write_folder(tmp_path, {**class_folders(), "more/test.csv": table(labels)})
    layout = find_source(path).layout
    assert (layout.name, layout.classes, len(layout.items)) == ("folders", ("cat", "dog"), 6)
    if labels:
        layout = find_source(path, "digit-csv").layout
        assert (layout.name, len(layout.items)) == ("digit-csv", 6)
        assert "6 photos beside the rows are left aside" in layout.notes


def test_a_photo_beside_the_rows_is_told(tmp_path: Path) -> None:
    path = write_folder(kaggle(tmp_path / "x"), {"preview.png": photo(1)})
    layout = find_source(path).layout
    assert layout.name == "digit-csv"
    assert "1 photos beside the rows are left aside" in layout.notes


def test_other_arrays_beside_the_table_are_not_meant(tmp_path: Path) -> None:
    features = io.BytesIO()
    np.savez(features, features=np.zeros(3))
    path = write_folder(kaggle(tmp_path / "x"), {"features.npz": features.getvalue()})
    assert find_source(path).layout.name == "digit-csv"
    with pytest.raises(DataError, match="expected the arrays"):
        find_source(path / "features.npz")
    files = {"train.csv": table(), "features.npz": features.getvalue()}
    assert find_source(write_zip(tmp_path / "x.zip", files)).layout.name == "digit-csv"
