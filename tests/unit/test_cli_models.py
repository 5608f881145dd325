"""`toolchain predict` and `toolchain inspect` as a user and a program meet them."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from tiny_network import CLASSES, Weights, contract
from tiny_onnx import int8_nodes, weight_only_nodes, write_float_onnx, write_int8_onnx, write_onnx
from tiny_tflite import build_tflite, write_float_tflite, write_int8_tflite, write_tflite
from typer.testing import CliRunner

from toolchain import terminal
from toolchain.cli.inspect import inspect_model
from toolchain.cli.predict import predict
from toolchain.errors import GateError, ImageError, InputError, ModelError


@pytest.fixture
def call(capfd, monkeypatch):
    """Call a command: (error it raised or None, stdout, stderr)."""
    monkeypatch.setattr(terminal, "_console", None)
    app = typer.Typer()
    app.command("predict")(predict)
    app.command("inspect")(inspect_model)

    def run(*arguments: object):
        result = CliRunner().invoke(app, [str(one) for one in arguments])
        return result.exception, result.stdout, capfd.readouterr().err

    yield run
    if terminal._console is not None:
        terminal._console.file.close()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of class folders, one photo a colour."""
    for name, colour in zip(CLASSES, [(220, 90, 80), (90, 220, 80), (80, 90, 220)], strict=True):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        Image.new("RGB", (40, 30), colour).save(folder / f"{name}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize(
    "write", [write_float_onnx, write_int8_onnx, write_float_tflite, write_int8_tflite]
)
def test_predict_names_the_colours(write, photos: Path, tmp_path: Path, call) -> None:
    error, out, _ = call("predict", write(tmp_path), photos, "--json", "--top", "2")
    assert error is None
    data = json.loads(out)
    found = {Path(one["image"]).stem: one["top"] for one in data["images"]}
    assert {name: top[0]["label"] for name, top in found.items()} == {c: c for c in CLASSES}
    assert all(len(top) == 2 and top[0]["probability"] > 0.9 for top in found.values())


def test_predict_prints_a_table(photos: Path, tmp_path: Path, call) -> None:
    error, out, shown = call("predict", write_float_onnx(tmp_path), photos / "red" / "red.png")
    assert (error, out) == (None, "")
    assert "red.png" in shown
    assert "%" in shown


def test_predict_writes_a_submission(tmp_path: Path, call) -> None:
    """Twenty rows, so that more than one step is taken; grey rows become three channels."""
    cells = ",".join(f"pixel{number}" for number in range(16))
    rows = [",".join([str(12 * number)] * 16) for number in range(20)]
    table = tmp_path / "test.csv"
    table.write_text("\n".join([cells, *rows]) + "\n")
    model, path = write_float_onnx(tmp_path), tmp_path / "submission.csv"
    error, out, shown = call("predict", model, table, "--submission", path)
    assert (error, out) == (None, "")
    assert "20 rows" in shown
    header, *lines = path.read_text().splitlines()
    assert header == "ImageId,Label"
    images = tmp_path / "rows"
    images.mkdir()
    for number in range(20):
        Image.new("L", (4, 4), 12 * number).save(images / f"{number + 1:02}.png")
    _, told, _ = call("predict", model, images, "--json", "--top", "1")
    tops = [one["top"][0]["label"] for one in json.loads(told)["images"]]
    assert lines == [f"{number},{label}" for number, label in enumerate(tops, start=1)]


@pytest.mark.parametrize("given", [["labels.csv"], ["a.csv", "b.csv"]])
def test_a_submission_of_no_table_of_pixels(given, tmp_path: Path, call) -> None:
    (tmp_path / "labels.csv").write_text("ImageId,Label\n1,0\n")
    paths = [tmp_path / name for name in given]
    model, path = write_float_onnx(tmp_path), tmp_path / "submission.csv"
    error, _, _ = call("predict", model, *paths, "--submission", path)
    assert isinstance(error, InputError)
    assert "pixel" in error.what
    assert not path.exists()


def test_a_submission_that_cannot_be_written_is_told_before_any_work(tmp_path: Path, call) -> None:
    os.mkfifo(path := tmp_path / "pipe")
    error, _, _ = call("predict", tmp_path / "gone.onnx", "t.csv", "--submission", path)
    assert isinstance(error, InputError)
    assert error.where == str(path)


def test_a_submission_is_no_json(tmp_path: Path, call) -> None:
    model, path = write_float_onnx(tmp_path), tmp_path / "submission.csv"
    error, _, _ = call("predict", model, tmp_path / "t.csv", "--submission", path, "--json")
    assert isinstance(error, InputError)
    assert "received both" in error.what


def test_predict_with_a_text_file_named_jpg(tmp_path: Path, call) -> None:
    (tmp_path / "no.jpg").write_text("hello")
    error, out, _ = call("predict", write_float_onnx(tmp_path), tmp_path / "no.jpg", "--json")
    assert isinstance(error, ImageError)
    assert error.exit_code == 2
    (image,) = json.loads(out)["images"]
    assert "cannot be decoded" in image["error"]
    assert len(error.lines()) <= 3


def test_predict_with_paths_that_hold_no_image(tmp_path: Path, call) -> None:
    model, empty = write_float_onnx(tmp_path), tmp_path / "empty"
    empty.mkdir()
    for path in (empty, tmp_path / "missing.jpg"):
        error, _, _ = call("predict", model, path)
        assert isinstance(error, ImageError)
        assert error.exit_code == 2


@pytest.mark.parametrize("write", [write_float_onnx, write_float_tflite])
def test_predict_with_a_truncated_model(write, photos: Path, tmp_path: Path, call) -> None:
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    error, out, _ = call("predict", path, photos)
    assert isinstance(error, ModelError)
    assert error.exit_code == 2
    assert out == ""


def test_inspect_shows_ops_tensors_and_the_true_scheme(tmp_path: Path, call) -> None:
    error, out, shown = call("inspect", write_int8_tflite(tmp_path))
    assert (error, out) == (None, "")
    for text in ("CONV_2D", "FULLY_CONNECTED", "1 x 8 x 8 x 3", "true scheme: int8"):
        assert text in shown


def test_inspect_as_json(tmp_path: Path, call) -> None:
    error, out, _ = call("inspect", write_int8_onnx(tmp_path), "--json")
    assert error is None
    data = json.loads(out)
    assert data["true_scheme"] == "int8"
    assert data["promised_by"] == {"name": "int8-qat", "contract": "int8-qat"}


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_dynamic_range_file_named_int8_exits_3_after_printing(kind, tmp_path: Path, call) -> None:
    path = tmp_path / f"photos.int8-qat.{kind}"
    if kind == "tflite":
        write_tflite(path, build_tflite("int8"), None)
    else:
        write_onnx(path, weight_only_nodes(), None)
    error, _, shown = call("inspect", path)
    assert isinstance(error, GateError)
    assert error.exit_code == 3
    assert "dynamic range" in str(error)
    assert "true scheme: w8" in shown


@pytest.mark.parametrize(
    ("named", "told"),
    [
        (("logits",), ""),
        ((), "1 of 2 layers have integer and float parts that do not meet: logits (Gemm)"),
        (("conv", "logits"), "says that conv computes in float, which the file does not bear out"),
        (("conv",), "says that conv computes in float"),
    ],
)
def test_an_int8_file_may_be_float_where_its_contract_says_so_and_nowhere_else(
    named: tuple[str, ...], told: str, tmp_path: Path, call
) -> None:
    build = int8_nodes()
    build.nodes = [node for node in build.nodes if node.output[0] != "dense"]
    build.constant("dense", Weights().dense, np.float32)
    carried = dataclasses.replace(contract(precision="int8-qat"), float_layers=named)
    error, _, shown = call("inspect", write_onnx(tmp_path / "m.int8-qat.onnx", build, carried))
    if told:
        assert isinstance(error, GateError)
        assert told in str(error)
    else:
        assert error is None
        assert "true scheme: mixed: int8, and float as its contract says in logits" in shown


def test_contract_that_promises_too_much_exits_3_whatever_the_name(tmp_path: Path, call) -> None:
    carried = contract("tflite", "int8-qat")
    path = write_tflite(tmp_path / "model.tflite", build_tflite(), carried)
    error, out, _ = call("inspect", path, "--json")
    assert isinstance(error, GateError)
    assert json.loads(out)["true_scheme"] == "fp32"


def test_names_in_a_file_cannot_drive_the_terminal(tmp_path: Path, call) -> None:
    build = build_tflite()
    build.graph.tensors[build.graph.inputs[0]].name = b"\x1b]0;title\x07[bold red]in\x1b[2J"
    error, _, shown = call("inspect", write_tflite(tmp_path / "m.tflite", build, None))
    assert error is None
    assert "[bold red]in" in shown
    assert "\x1b]" not in shown
    assert "\x1b[2J" not in shown
