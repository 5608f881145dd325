"""Where a file's contract comes from, and what is said when there is none."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from tiny_network import contract, lay_beside
from tiny_onnx import float_nodes, write_float_onnx, write_onnx
from tiny_tflite import build_tflite, write_float_tflite, write_tflite

from toolchain.contract import (
    CONTRACT_FILE,
    MAX_CONTRACT_BYTES,
    SCHEMA,
    ContractEntry,
    read_contract_file,
    write_contract_file,
)
from toolchain.errors import ModelError
from toolchain.runtimes import find_contract, read_contract
from toolchain.runtimes.carried import check_file


def bare(folder: Path, kind: str) -> Path:
    """A file that carries no contract."""
    path = folder / f"bare.{kind}"
    if kind == "onnx":
        return write_onnx(path, float_nodes(), None)
    return write_tflite(path, build_tflite(), None)


@pytest.mark.parametrize("write", [write_float_onnx, write_float_tflite])
def test_contract_inside_the_file(write, tmp_path: Path) -> None:
    path = write(tmp_path)
    assert read_contract(path) == contract(path.suffix[1:])


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_contract_beside_the_file(kind: str, tmp_path: Path) -> None:
    path = bare(tmp_path, kind)
    lay_beside(path)
    assert read_contract(path) == contract(kind)


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_without_a_contract_the_error_says_what_to_do(kind: str, tmp_path: Path) -> None:
    path = bare(tmp_path, kind)
    assert find_contract(path) is None
    with pytest.raises(ModelError, match=r"carries no contract") as caught:
        read_contract(path)
    assert CONTRACT_FILE in caught.value.remedy
    assert len(caught.value.lines()) == 3


@pytest.mark.parametrize("write", [write_float_onnx, write_float_tflite])
def test_changed_file_is_noticed_even_when_it_carries_its_contract(write, tmp_path: Path) -> None:
    path = write(tmp_path)
    lay_beside(path, sha256="0" * 64)
    with pytest.raises(ModelError, match="expects sha256 0000000000000000"):
        read_contract(path)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"schema": %d}' % SCHEMA,
        b'{"schema": 9, "files": {}}',
        b'{"schema": %d, "files": {"bare.onnx": {"sha256": 3}}}' % SCHEMA,
        b'{"schema": %d, "files": []}' % SCHEMA,
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_damaged_contract_file_is_a_model_error(text: bytes, tmp_path: Path) -> None:
    path = bare(tmp_path, "onnx")
    path.with_name(CONTRACT_FILE).write_bytes(text)
    with pytest.raises(ModelError):
        read_contract(path)


def test_a_contract_file_holds_as_many_contracts_as_an_export_has(tmp_path: Path) -> None:
    """Each well within its bound, in letters that ASCII would escape."""
    labels = tuple(f"{at}{750 * '猫'}" for at in range(1000))
    one = ContractEntry("0" * 64, 1, dataclasses.replace(contract(), labels=labels))
    entries = {f"{name}.onnx": one for name in "ab"}
    path = tmp_path / CONTRACT_FILE
    path.write_text(write_contract_file(entries), encoding="utf-8")
    assert path.stat().st_size > MAX_CONTRACT_BYTES
    assert read_contract_file(tmp_path) == entries


def test_a_contract_file_without_an_end_is_not_read_to_it(tmp_path: Path) -> None:
    with (tmp_path / CONTRACT_FILE).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ModelError, match="more than"):
        read_contract_file(tmp_path)


def test_what_is_no_model_file_is_refused(tmp_path: Path) -> None:
    empty, folder, text = tmp_path / "empty.onnx", tmp_path / "folder.onnx", tmp_path / "model.h5"
    empty.write_bytes(b"")
    folder.mkdir()
    text.write_text("x")
    pipe = tmp_path / "pipe.tflite"
    os.mkfifo(pipe)
    for path in (empty, folder, text, pipe, tmp_path / "missing.onnx"):
        with pytest.raises(ModelError) as caught:
            check_file(path)
        assert len(caught.value.lines()) <= 3


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_text_under_the_name_of_a_model_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"text{suffix}"
    path.write_text("not a model at all, but longer than a header")
    with pytest.raises(ModelError, match="damaged or not a"):
        read_contract(path)
