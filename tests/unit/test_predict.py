"""`toolchain predict`, called in this process: what is asked about, and what is printed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from PIL import Image
from tiny_onnx import write_float_onnx

from toolchain.cli.predict import predict


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
