"""What lies beside photos: other things, files that are not read, links, and our own results."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from photo_files import class_folders, write_folder, write_zip
from test_data_layouts import PLAIN, layout_of

from toolchain.data.source import find_source, fingerprint
from toolchain.errors import DataError
from toolchain.recipe import parse_recipe


def test_folders_of_other_things_where_classes_stand_are_left_aside_aloud() -> None:
    files = (*PLAIN, "models/x/recipe.toml", "lost+found/#1.jpg", "@eaDir/a.jpg", "preview.png")
    layout = layout_of(files, ("cat", "dog", "models", "models/x", "lost+found", "@eaDir"))
    assert layout.classes == ("cat", "dog")
    assert layout.notes == (
        "preview.png is left aside",
        "models/ holds no photos and is left aside",
    )
    yolo = (*(f"train/{n}/1.jpg" for n in ("cat", "dog")), "val/cat/1.jpg", "train/labels/1.txt")
    assert layout_of(yolo, ("train/cat", "train/dog", "train/labels")).classes == ("cat", "dog")
    with pytest.raises(DataError, match="'bird' holds no photos"):
        layout_of((*PLAIN, "bird/.DS_Store", "bird/Thumbs.db"), ("cat", "dog", "bird"))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("bird/1.HEIC", "bird/2.heic", "bird/2.mov"), "'bird' holds no photos but 2 .heic"),
        (("bird/1", "bird/2"), "'bird' holds no photos but 2 files without a suffix"),
        (("bird/1.tif", "bird/2.tif", "bird/2.avif"), "2 .tif and 1 .avif, which are not read"),
    ],
)
def test_a_class_of_files_that_are_not_read(more: tuple[str, ...], words: str) -> None:
    with pytest.raises(DataError) as caught:
        layout_of((*PLAIN, *more), ("cat", "dog", "bird"))
    assert words in caught.value.what
    assert "JPEG" in caught.value.remedy


def test_nothing_but_files_that_are_not_read() -> None:
    with pytest.raises(DataError, match=r"found none but 2 \.heic, which are not read"):
        layout_of(("cat/1.heic", "dog/1.HEIC", "readme.txt", "LICENSE"), ("cat", "dog"))


def test_what_is_not_read_is_counted(tmp_path: Path) -> None:
    files = {**class_folders(), "cat/a.heic": b"1", "cat/b.tif": b"1", "dog/c.TIF": b"1"}
    path = write_folder(tmp_path / "x", {**files, "cat/bare": b"1", "README": b"1"})
    (path / "dog" / "link.jpg").symlink_to(path / "cat" / "0.png")
    (path / "dog" / "notes").symlink_to(path / "README")
    said = find_source(path).layout.notes
    assert said == (
        "left aside, as they are not read: 2 .tif, 1 .heic, 1 file without a suffix and 2 links",
    )
    archive = find_source(write_zip(tmp_path / "x.zip", files)).layout.notes
    assert archive == ("left aside, as they are not read: 2 .tif and 1 .heic",)


def test_links_to_class_folders_are_told(tmp_path: Path) -> None:
    real = write_folder(tmp_path / "real", class_folders(("cat", "dog", "bird")))
    path = write_folder(tmp_path / "x", class_folders())
    (path / "bird").symlink_to(real / "bird")
    with pytest.raises(DataError, match="'bird' holds no photos but 1 link"):
        find_source(path)


def test_runs_made_inside_the_folder_of_photos_are_no_photos(tmp_path: Path) -> None:
    path = write_folder(tmp_path, class_folders())
    recipe = parse_recipe({"data": {"path": str(path)}}, name="x")
    before, layout = fingerprint(recipe), find_source(path).layout
    write_folder(path, {"runs/x/.lock": b"", "runs/x/report/1.png": b"1", "runs/x/data/a": b""})
    assert fingerprint(recipe) == before
    after = find_source(path).layout
    assert (after.classes, after.items) == (layout.classes, layout.items)
    assert after.notes == ("runs/ holds runs of the toolchain and is left aside",)


def test_many_folders_of_other_things_are_one_note_and_one_look() -> None:
    """Looking through all names for each such folder took 16 s of 2,000."""
    more = tuple(f"notes{n:04}" for n in range(4000))
    started = time.process_time()
    layout = layout_of((*PLAIN, *(f"{name}/a.txt" for name in more)), ("cat", "dog", *more))
    assert time.process_time() - started < 5
    assert layout.notes == (
        "4,000 folders without photos are left aside, such as notes0000/, notes0001/, notes0002/, "
        "notes0003/, notes0004/",
    )
