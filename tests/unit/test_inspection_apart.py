"""Files of any origin are read in a child process, within its memory and its time."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import helper
from tiny_network import lay_beside
from tiny_onnx import float_nodes, load_onnx, write_int8_onnx, write_onnx
from tiny_tflite import write_float_tflite, write_int8_tflite

from toolchain.contract import CONTRACT_FILE, METADATA_KEY
from toolchain.errors import ModelError
from toolchain.inspection import inspect_file
from toolchain.inspection.apart import inspect_apart
from toolchain.runtimes import find_contract


def write_bare_onnx(folder: Path) -> Path:
    return write_onnx(folder / "bare.onnx", float_nodes(), None)


@pytest.mark.parametrize(
    "write", [write_bare_onnx, write_int8_onnx, write_float_tflite, write_int8_tflite]
)
def test_the_child_says_what_is_read_here(write, tmp_path: Path) -> None:
    path = write(tmp_path)
    assert inspect_apart(path) == (inspect_file(path), find_contract(path))


def test_a_mistake_that_the_child_meets_is_raised_here(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("not a model")
    with pytest.raises(ModelError, match=r"text\.onnx is damaged") as caught:
        inspect_apart(path)
    assert len(caught.value.lines()) <= 3


def test_a_file_that_takes_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vast.tflite"
    with path.open("wb") as file:
        file.write(b"\0\0\0\0TFL3")
        file.truncate(3 * 2**29)
    with pytest.raises(ModelError, match="needs more than the 1,024 MiB it is given"):
        inspect_apart(path, memory_mib=1024)


def test_a_file_that_takes_the_time_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot be read \(no answer within 0\.001 s\)"):
        inspect_apart(write_int8_onnx(tmp_path), timeout_s=0.001)


@pytest.mark.parametrize("place", ["inside", "beside"])
def test_a_contract_that_cannot_be_read_hides_no_file(place: str, tmp_path: Path) -> None:
    path = write_bare_onnx(tmp_path)
    if place == "inside":
        model = load_onnx(path)
        helper.set_model_props(model, {METADATA_KEY: '{"schema": 2, "precision": "fp32"}'})
        path.write_bytes(model.SerializeToString())
    else:
        path.with_name(CONTRACT_FILE).write_text('{"schema": 2}')
    found, contract = inspect_apart(path)
    assert (found.true_scheme, contract) == ("fp32", None)
    assert "expected schema 3" in found.contract_unread
    with pytest.raises(ModelError, match="expected schema 3"):
        find_contract(path)


def test_a_file_that_was_changed_is_refused_all_the_same(tmp_path: Path) -> None:
    path = write_bare_onnx(tmp_path)
    lay_beside(path, "0" * 64)
    with pytest.raises(ModelError, match="the file was changed after its export"):
        inspect_apart(path)
