"""`toolchain predict`, called in this process: what is asked about, and what is printed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from PIL import Image
from tiny_onnx import write_float_onnx

from toolchain.cli.predict import find_images, predict
from toolchain.errors import ImageError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_float_onnx(tmp_path_factory.mktemp("model"))


def photo(path: Path, colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 9), colour).save(path, "PNG")
    return path


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems have UTF-8 names only")
def test_a_name_that_is_no_utf8_comes_back_from_the_json(model, tmp_path, capfdbinary) -> None:
    path = photo(tmp_path / os.fsdecode(b"caf\xe9.png"))
    predict(model, [path], as_json=True)
    (image,) = json.loads(capfdbinary.readouterr().out.decode("ascii"))["images"]
    assert os.fsencode(image["image"]) == os.fsencode(path)
    assert image["top"][0]["label"] == "red"


def test_a_folder_means_its_photos_and_not_what_is_named_like_one(tmp_path: Path) -> None:
    shown = [photo(tmp_path / "a.jpg"), photo(tmp_path / "below" / "b.PNG")]
    for hidden in ("._a.jpg", ".cache/c.jpg", "__MACOSX/a.jpg"):
        photo(tmp_path / hidden)
    (tmp_path / "d.jpg").mkdir()
    (tmp_path / "notes.txt").write_text("no photo")
    assert find_images([tmp_path]) == shown


def test_a_hidden_folder_that_was_asked_for_is_read(tmp_path: Path) -> None:
    asked = photo(tmp_path / ".photos" / "a.jpg")
    assert find_images([asked.parent]) == [asked]


def test_one_damaged_photo_leaves_the_others_their_answers(model, tmp_path, capsys) -> None:
    for name, colour in (("a.png", "red"), ("c.png", "blue")):
        photo(tmp_path / name, colour)
    (tmp_path / "b.png").write_bytes(b"no photo")
    with pytest.raises(ImageError, match="1 of 3 photos have no answer") as caught:
        predict(model, [tmp_path], as_json=True)
    assert caught.value.where == str(tmp_path / "b.png")
    first, bad, last = json.loads(capsys.readouterr().out)["images"]
    assert [entry["top"][0]["label"] for entry in (first, last)] == ["red", "blue"]
    assert set(bad) == {"image", "error"}
