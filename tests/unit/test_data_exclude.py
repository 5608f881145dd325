"""Lists of names to leave out."""

from __future__ import annotations

from pathlib import Path

import pytest
from photo_files import class_folders, write_folder

from toolchain.data.exclude import names_text, read_names
from toolchain.data.source import fingerprint, open_source
from toolchain.data.stage import build_dataset
from toolchain.errors import DataError
from toolchain.recipe import Recipe, parse_recipe


def recipe(tmp_path: Path, text: str | None, each: int = 12) -> Recipe:
    path = write_folder(tmp_path / "photos", class_folders(each=each))
    data: dict[str, object] = {"path": str(path), "split": "rank"}
    if text is not None:
        (tmp_path / "exclude.txt").write_text(text)
        data["exclude"] = str(tmp_path / "exclude.txt")
    return parse_recipe({"data": data, "input": {"size": 32}}, name="x")


def test_named_images_are_left_out_and_told(tmp_path: Path) -> None:
    text = "# blurred\ncat/0.png\n\n./dog/3.png\r\n#dog/4.png\n"
    (out := tmp_path / "out").mkdir()
    dataset = build_dataset(recipe(tmp_path, text), out)
    assert dataset.skipped == (("cat/0.png", "excluded"), ("dog/3.png", "excluded"))
    assert len(dataset.names) == 22
    assert not {"cat/0.png", "dog/3.png"} & set(dataset.names)
    assert len(dataset.pixels()) == 22


def test_an_excluded_image_may_be_broken(tmp_path: Path) -> None:
    made = recipe(tmp_path, "cat/0.png\n")
    (tmp_path / "photos" / "cat" / "0.png").write_bytes(b"no image")
    (out := tmp_path / "out").mkdir()
    assert len(build_dataset(made, out).names) == 23


def test_a_name_that_is_not_there_is_told(tmp_path: Path) -> None:
    layout = open_source(recipe(tmp_path, "cat/O.png\ncat/1.png\n")).layout
    assert layout.notes == ("1 excluded names are not in the data, such as cat/O.png",)


def test_a_class_cannot_vanish(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="leaves class 'cat' without images"):
        open_source(recipe(tmp_path, "cat/0.png\ncat/1.png\n", each=2))


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    made = recipe(tmp_path, "")
    (tmp_path / "exclude.txt").unlink()
    with pytest.raises(DataError, match="expected a list of names, found none"):
        open_source(made)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    names = ["cat/1.jpg", "#1/a.jpg", "./#x.png", "späte Äpfel/ 1 .jpg", "bytes/\udcff.jpg"]
    path = tmp_path / "exclude.txt"
    path.write_bytes(names_text((name, f"reason {n // 2}\n") for n, name in enumerate(names)))
    assert path.read_bytes().startswith(b"# reason 0\ncat/1.jpg\n./#1/a.jpg\n# reason 1\n")
    assert read_names(path) == set(names)


def test_the_fingerprint_knows_the_names_not_the_comments(tmp_path: Path) -> None:
    made = recipe(tmp_path, "cat/0.png\n")
    before = fingerprint(made)
    (tmp_path / "exclude.txt").write_text("# blurred\ncat/0.png\n")
    assert fingerprint(made) == before
    (tmp_path / "exclude.txt").write_text("cat/1.png\n")
    assert fingerprint(made) != before
