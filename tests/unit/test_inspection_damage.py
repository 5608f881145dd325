"""Damaged model files: only ModelError leaves inspect and the child process, 200 files each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_onnx import write_float_onnx, write_int8_onnx
from tiny_tflite import write_float_tflite, write_int8_tflite

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


@pytest.mark.parametrize("write", WRITERS)
def test_the_child_runs_or_refuses_damaged_files(write, tmp_path: Path) -> None:
    path = write(tmp_path)
    original, random = path.read_bytes(), np.random.default_rng(SEED)
    refused = 0
    for _ in range(RUN_MUTATIONS):
        path.write_bytes(damaged(original, random))
        try:
            with IsolatedRunner.open(path, timeout_s=20) as runner:
                assert runner.run(np.zeros((2, 8, 8, 3), np.uint8)).shape == (2, 3)
        except ModelError as error:
            refused += 1
            assert len(error.lines()) <= 3
    assert refused > 0
