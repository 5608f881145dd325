"""Files of any origin are read in a child process, within its memory and its time."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_onnx import float_nodes, write_int8_onnx, write_onnx
from tiny_tflite import write_float_tflite, write_int8_tflite

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
