"""Damaged model files: only ModelError leaves inspect and the child process, 200 files each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_network import lay_beside
from tiny_onnx import float_nodes, int8_nodes, write_float_onnx, write_int8_onnx, write_onnx
from tiny_tflite import build_tflite, write_float_tflite, write_int8_tflite, write_tflite

from toolchain.errors import ModelError
from toolchain.inspection import inspect_file
from toolchain.runtimes import IsolatedRunner, find_contract

MUTATIONS = 200
RUN_MUTATIONS = 12
SEED = 20260101
WRITERS = [write_float_onnx, write_int8_onnx, write_float_tflite, write_int8_tflite]


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    """Cut short, or with one to sixteen bytes changed, or with a part moved."""
    kind = random.integers(3)
    if kind == 0:
        return data[: random.integers(0, len(data))]
    changed = bytearray(data)
    if kind == 1:
        for place in random.integers(0, len(data), random.integers(1, 17)):
            changed[place] = random.integers(256)
        return bytes(changed)
    start, length = random.integers(0, len(data) - 64), random.integers(1, 64)
    target = random.integers(0, len(data) - 64)
    changed[target : target + length] = data[start : start + length]
    return bytes(changed)


@pytest.mark.parametrize("write", WRITERS)
def test_inspect_reads_or_refuses_damaged_files(write, tmp_path: Path) -> None:
    path = write(tmp_path)
    original, random = path.read_bytes(), np.random.default_rng(SEED)
    refused = 0
    for _ in range(MUTATIONS):
        path.write_bytes(damaged(original, random))
        for read in (inspect_file, find_contract):
            try:
                read(path)
            except ModelError as error:
                refused += 1
                assert len(error.lines()) <= 3
    assert refused > MUTATIONS // 4


BARE = {
    "float.onnx": lambda path: write_onnx(path, float_nodes(), None),
    "int8.onnx": lambda path: write_onnx(path, int8_nodes(), None),
    "float.tflite": lambda path: write_tflite(path, build_tflite(), None),
    "int8.tflite": lambda path: write_tflite(path, build_tflite("int8", "int8"), None),
}


@pytest.mark.parametrize("name", BARE)
def test_the_child_runs_or_refuses_damaged_files(name: str, tmp_path: Path) -> None:
    """The contract lies beside the file and fits it, so that the damage reaches the runtime."""
    path = BARE[name](tmp_path / name)
    original, random = path.read_bytes(), np.random.default_rng(SEED)
    outcomes = set()
    for _ in range(RUN_MUTATIONS):
        changed = bytearray(original)
        for place in random.integers(0, len(original), random.integers(1, 5)):
            changed[place] ^= 1 << random.integers(8)
        path.write_bytes(changed)
        lay_beside(path)
        try:
            with IsolatedRunner.open(path, timeout_s=20) as runner:
                assert runner.run(np.zeros((2, 8, 8, 3), np.uint8)).shape == (2, 3)
                outcomes.add("ran")
        except ModelError as error:
            assert len(error.lines()) <= 3
            outcomes.add("refused")
    assert outcomes == {"ran", "refused"}
