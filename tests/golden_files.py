"""A folder as an export leaves it, small enough for tests: two files, contract.json and goldens."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from tiny_network import CLASSES, SIZE, contract
from tiny_onnx import Builder, write_onnx
from tiny_tflite import build_tflite, uint8_contract, write_tflite

from toolchain.contract import CONTRACT_FILE, ContractEntry, write_contract_file
from toolchain.goldens import write_goldens
from toolchain.runtimes import read_contract

ONNX, TFLITE = "tiny.fp32.onnx", "tiny.int8-qat.tflite"


def kernel(zeroed: int | None = None) -> np.ndarray:
    """[pixels, classes]: every pixel counts, and none like its neighbour; one class may not."""
    random = np.random.default_rng(3)
    weights = random.normal(0, 0.12, (SIZE * SIZE * 3, len(CLASSES))).astype(np.float32)
    if zeroed is not None:
        weights[:, zeroed] = 0
    return weights


def position_nodes(weights: np.ndarray) -> Builder:
    """One dense layer on all pixels: unlike the tiny network it sees where something is."""
    build = Builder()
    build.node("Flatten", ["input"], "flat", axis=1)
    build.node("Gemm", ["flat", build.constant("weights", weights, np.float32)], "logits")
    build.node("Softmax", ["logits"], "output", axis=-1)
    return build


def write_position_onnx(folder: Path, weights: np.ndarray | None = None, **changes: Any) -> Path:
    carried = dataclasses.replace(contract("onnx"), **changes)
    nodes = position_nodes(kernel() if weights is None else weights)
    return write_onnx(folder / ONNX, nodes, carried)


def write_export(folder: Path) -> Path:
    """The folder with a float .onnx file and a .tflite file that takes and gives bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    write_position_onnx(folder)
    write_tflite(folder / TFLITE, build_tflite("int8", "int8", "uint8"), uint8_contract())
    write_contract_json(folder)
    write_goldens(folder)
    return folder


def write_contract_json(folder: Path) -> None:
    """contract.json for the files as they are now, from the contract inside each."""
    (folder / CONTRACT_FILE).unlink(missing_ok=True)
    entries = {}
    for path in (folder / ONNX, folder / TFLITE):
        data = path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        entries[path.name] = ContractEntry(sha256, len(data), read_contract(path))
    (folder / CONTRACT_FILE).write_text(write_contract_file(entries))


def forge_hashes(folder: Path) -> None:
    """Make contract.json and goldens.json agree with changed files: only numbers can tell now."""
    write_contract_json(folder)
    path = folder / "goldens" / "goldens.json"
    data = json.loads(path.read_text())
    for name, answers in data["files"].items():
        answers["sha256"] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    path.write_text(json.dumps(data))
