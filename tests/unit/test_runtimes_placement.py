"""Which nodes ran where, and which library a provider misses."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_onnx import write_float_onnx, write_int8_onnx
from tiny_tflite import write_float_tflite, write_int8_tflite

from toolchain.runtimes import IsolatedRunner
from toolchain.runtimes.litert import placement
from toolchain.runtimes.onnxruntime import LIBRARIES, missing_library


@pytest.mark.parametrize("write", [write_float_onnx, write_int8_onnx])
def test_onnxruntime_tells_the_provider_of_every_node(write, tmp_path: Path) -> None:
    with IsolatedRunner.open(write(tmp_path)) as runner:
        (provider,) = runner.nodes
        assert provider == "CPUExecutionProvider"
        assert runner.nodes[provider] >= 4


def test_litert_tells_what_xnnpack_took(tmp_path: Path) -> None:
    with IsolatedRunner.open(write_float_tflite(tmp_path)) as runner:
        assert runner.nodes == {"XNNPACK": 4}


def test_litert_tells_what_xnnpack_left(tmp_path: Path) -> None:
    with IsolatedRunner.open(write_int8_tflite(tmp_path)) as runner:
        assert runner.nodes == {"XNNPACK": 5, "LiteRT kernels": 1}


class Listed:
    """An interpreter that lists these nodes, as (name, inputs, outputs)."""

    def __init__(self, *nodes: tuple[str, list[int], list[int]]) -> None:
        self._nodes = nodes

    def _get_ops_details(self) -> list[dict[str, object]]:
        return [{"op_name": n, "inputs": i, "outputs": o} for n, i, o in self._nodes]


def test_nodes_of_a_part_are_those_between_its_ends() -> None:
    chain = [("A", [0], [1]), ("B", [1, 9], [2]), ("C", [2], [3]), ("D", [3], [4])]
    assert placement(Listed(*chain)) == {"LiteRT kernels": 4}
    parts = [("DELEGATE", [1, 9], [3])]
    assert placement(Listed(*chain, *parts)) == {"XNNPACK": 2, "LiteRT kernels": 2}
    both = [*parts, ("DELEGATE", [3], [4])]
    assert placement(Listed(*chain, *both)) == {"XNNPACK": 3, "LiteRT kernels": 1}


def test_a_branch_inside_a_part_is_counted_once() -> None:
    nodes = [("A", [0], [1]), ("B", [1], [2]), ("C", [1], [3]), ("D", [2, 3], [4])]
    assert placement(Listed(*nodes, ("DELEGATE", [0], [4]))) == {"XNNPACK": 4}


def test_an_interpreter_that_lists_nothing_is_no_error() -> None:
    assert placement(object()) == {}


def test_a_provider_that_was_never_built_in_is_told_by_its_file(tmp_path: Path) -> None:
    assert LIBRARIES["cuda"] in missing_library(LIBRARIES["cuda"], tmp_path)
    assert "onnxruntime-gpu brings" in missing_library(LIBRARIES["tensorrt"], tmp_path)


def test_a_library_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    (tmp_path / LIBRARIES["cuda"]).write_bytes(b"\x7fELF and nothing more")
    assert missing_library(LIBRARIES["cuda"], tmp_path).endswith(
        "libonnxruntime_providers_shared.so"
    )
