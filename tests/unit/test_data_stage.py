"""The data stage: every photo decoded once as predict would, split, and saved."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from photo_files import class_folders, photo, write_folder, write_tar, write_zip

from toolchain.data.source import fingerprint
from toolchain.data.stage import build_dataset
from toolchain.errors import DataError
from toolchain.images.preprocess import Frame, pixels_of
from toolchain.recipe import parse_recipe
from toolchain.values import Dataset

SIZE = 32
EACH = 40
FILES = ["dataset.json", "photos.csv", "pixels.npy"]


@pytest.fixture
def files() -> dict[str, bytes]:
    photos = class_folders(each=EACH)
    photos["cat/jpeg.jpg"] = photo(991, (50, 30), "JPEG")
    photos["dog/web.webp"] = photo(992, (20, 90), "WEBP")
    return photos


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def recipe_of(path: Path | str, **data: object):
    table = {"data": {"path": str(path), "validation": 0.2, "test": 0.2, **data}}
    return parse_recipe(table | {"input": {"size": SIZE}}, name="photos")


def test_pixels_labels_and_hashes_are_those_of_each_photo(files, tmp_path: Path, out: Path) -> None:
    dataset = build_dataset(recipe_of(write_folder(tmp_path / "x", files)), out)
    assert dataset.classes == ("cat", "dog")
    assert sorted(dataset.names) == sorted(files)
    assert {*dataset.splits} == {"train", "validation", "test"}
    pixels = dataset.pixels()
    assert (pixels.dtype, pixels.shape) == (np.uint8, (len(files), SIZE, SIZE, 3))
    for row, name in enumerate(dataset.names):
        expected = pixels_of(files[name], name, Frame(SIZE))
        assert np.array_equal(pixels[row], expected)
        assert dataset.sha256[row] == hashlib.sha256(expected.tobytes()).hexdigest()
        assert dataset.classes[dataset.labels[row]] == name.split("/")[0]


@pytest.mark.parametrize("cache_gib", [16.0, 0.0])
def test_the_middle_is_kept_when_asked(files, tmp_path: Path, out: Path, cache_gib: float) -> None:
    """Stored and streamed; a cache of the whole photos is not taken for one of their middles."""
    path, cache = write_folder(tmp_path / "x", files), tmp_path / "cache"
    whole = recipe_of(path, cache_gib=cache_gib)
    (tmp_path / "whole").mkdir()
    build_dataset(whole, tmp_path / "whole", cache)
    recipe = dataclasses.replace(whole, input=dataclasses.replace(whole.input, crop=0.5))
    dataset = build_dataset(recipe, out, cache)
    assert dataset.streamed == (cache_gib == 0)
    for row, name in enumerate(dataset.names):
        expected = pixels_of(files[name], name, Frame(SIZE, 0.5))
        assert np.array_equal(dataset.pixels()[row], expected)


def test_the_split_does_not_depend_on_the_size(files, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "x", files)
    splits = []
    for size in (SIZE, SIZE + 16):
        (tmp_path / str(size)).mkdir()
        table = {"data": {"path": str(folder)}, "input": {"size": size}}
        dataset = build_dataset(parse_recipe(table, name="photos"), tmp_path / str(size))
        splits.append(dict(zip(dataset.names, dataset.splits, strict=True)))
    assert splits[0] == splits[1]


def test_what_was_saved_is_what_was_returned(files, tmp_path: Path, out: Path) -> None:
    dataset = build_dataset(recipe_of(write_folder(tmp_path / "x", files)), out)
    assert Dataset.load(out) == dataset
    assert sorted(path.name for path in out.iterdir()) == FILES


def test_an_archive_gives_the_dataset_of_its_folder(files, tmp_path: Path) -> None:
    found = []
    for path in (
        write_folder(tmp_path / "x", files),
        write_zip(tmp_path / "x.zip", files),
        write_tar(tmp_path / "x.tar.xz", files),
    ):
        folder = tmp_path / f"out{len(found)}"
        folder.mkdir()
        dataset = build_dataset(recipe_of(path), folder)
        rows = zip(dataset.names, dataset.sha256, dataset.splits, dataset.labels, strict=True)
        found.append(sorted(rows))
    assert found[0] == found[1] == found[2]


BAD = {
    "cat/text.jpg": b"I am no photo",
    "dog/empty.png": b"",
    "dog/cut.jpg": photo(5, (200, 200), "JPEG")[:3000],
}


def test_a_bad_image_stops_the_stage(files, tmp_path: Path, out: Path) -> None:
    path = write_folder(tmp_path / "x", files | BAD)
    with pytest.raises(DataError, match="and 2 more") as caught:
        build_dataset(recipe_of(path), out)
    assert caught.value.where in BAD
    assert "on_bad_image" in caught.value.remedy
    assert not (out / "dataset.json").exists()


def test_bad_images_are_left_out_when_asked(files, tmp_path: Path, out: Path) -> None:
    path = write_folder(tmp_path / "x", files | BAD)
    dataset = build_dataset(recipe_of(path, on_bad_image="skip"), out)
    assert {name for name, _ in dataset.skipped} == set(BAD)
    # The reasons are those of every run: no address in memory, no temporary name.
    assert all(reason and "0x" not in reason for _, reason in dataset.skipped)
    pixels = dataset.pixels()
    assert len(pixels) == len(dataset.names) == len(files)
    for row, name in enumerate(dataset.names):
        assert np.array_equal(pixels[row], pixels_of(files[name], name, Frame(SIZE)))
    assert sorted(path.name for path in out.iterdir()) == FILES


def test_a_class_of_bad_images_alone_is_refused(files, tmp_path: Path, out: Path) -> None:
    path = write_folder(tmp_path / "x", files | {"bird/1.jpg": b"no photo"})
    with pytest.raises(DataError, match="'bird' has no training photos"):
        build_dataset(recipe_of(path, on_bad_image="skip"), out)


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX systems alone")
def test_a_file_name_that_is_no_text(files, tmp_path: Path, out: Path) -> None:
    path = write_folder(tmp_path / "x", files)
    name = b"cat/\xff\xfe.png"
    try:
        Path(os.fsdecode(os.fsencode(path) + b"/" + name)).write_bytes(photo(77))
    except OSError:
        pytest.skip("this file system refuses such names")
    dataset = build_dataset(recipe_of(path), out)
    assert len(dataset.names) == len(files) + 1
    assert Dataset.load(out) == dataset


def test_a_relative_path_is_also_looked_up_in_the_data_folder(
    files, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "shared" / "datasets" / "mine", files)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(DataError, match="found none"):
        build_dataset(recipe_of("mine"), out)
    monkeypatch.setenv("TOOLCHAIN_DATA", str(tmp_path / "shared"))
    assert len(build_dataset(recipe_of("mine"), out).names) == len(files)


def test_the_fingerprint_follows_the_photos(files, tmp_path: Path) -> None:
    path = write_folder(tmp_path / "x", files)
    before = fingerprint(recipe_of(path))
    assert fingerprint(recipe_of(path)) == before
    (path / "cat" / "0.png").unlink()
    assert fingerprint(recipe_of(path)) != before


def test_digits(out: Path) -> None:
    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    table = {"data": {"source": "digits", "split": "rank"}, "input": {"size": SIZE}}
    dataset = build_dataset(parse_recipe(table, name="digits"), out)
    real = load_digits()
    assert dataset.classes == tuple("0123456789")
    assert dataset.labels == tuple(real.target)
    # The mean survives the enlargement: 0..16 became 0..255.
    means = np.asarray(dataset.pixels()).mean(axis=(1, 2, 3)) / 255 * 16
    assert np.corrcoef(means, real.images.mean(axis=(1, 2)))[0, 1] > 0.99
    assert any("enlarged" in note for note in dataset.notes)
