"""Foreign .tflite files: float ops in the middle, products of activations, recurrent layers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_tflite import Builder, build_tflite, write_tflite

from toolchain.errors import GateError
from toolchain.inspection import check_promise, inspect_file


def with_float_sigmoid(path: Path) -> Path:
    """The int8 network with a float LOGISTIC between its convolution and its mean."""
    lite = build_tflite("int8", "int8")
    operators = lite.graph.operators
    place = next(i for i, op in enumerate(operators) if len(op.inputs) == 2)
    maps = operators[place].inputs[0]
    before, share = (lite.activation(name, (1, 8, 8, 4), None) for name in ("before", "share"))
    after = lite.activation("after", (1, 8, 8, 4), "conv")
    lite.op("DEQUANTIZE", [maps], before)
    lite.op("LOGISTIC", [before], share)
    lite.op("QUANTIZE", [share], after)
    operators[place].inputs = [after, operators[place].inputs[1]]
    operators[place:] = [*operators[-3:], *operators[place:-3]]
    return write_tflite(path, lite, None)


def test_a_float_sigmoid_between_integer_layers_is_an_island(tmp_path: Path) -> None:
    found = inspect_file(with_float_sigmoid(tmp_path / "m.int8.tflite"))
    assert found.float_islands == ("share",)
    with pytest.raises(GateError, match=r"1 op computes in float: share \(LOGISTIC\)"):
        check_promise(found, "int8")


def float_softmax(path: Path) -> Path:
    """Softmax behind the last DEQUANTIZE."""
    lite = build_tflite("int8", "int8")
    softmax, dequantize = lite.graph.operators[-2:]
    result, floats = dequantize.outputs[0], lite.activation("floats", (1, 3), None)
    dequantize.inputs, dequantize.outputs = [softmax.inputs[0]], [floats]
    softmax.inputs, softmax.outputs = [floats], [result]
    lite.graph.operators[-2:] = [dequantize, softmax]
    return write_tflite(path, lite, None)


def test_one_behind_the_last_dequantize_is_none(tmp_path: Path) -> None:
    found = inspect_file(float_softmax(tmp_path / "m.int8.tflite"))
    assert found.float_islands == ()
    check_promise(found, "int8")


def floats_of(build: Builder, *names: str) -> list[int]:
    return [build.activation(name, (1, 32, 32), None) for name in names]


def test_products_of_activations_are_no_layers(tmp_path: Path) -> None:
    build = Builder()
    source, rows, likeness = floats_of(build, "x", "rows", "likeness")
    kernel = build.tensor("k", (32, 32), "int8", 0.01, value=[[1] * 32] * 32)
    build.op("FULLY_CONNECTED", [source, kernel, -1], rows)
    build.op("BATCH_MATMUL", [rows, rows], likeness)
    build.graph.inputs, build.graph.outputs = [source], [likeness]
    found = inspect_file(write_tflite(tmp_path / "m.w8.tflite", build, None))
    check_promise(found, "w8")
    assert [op.output for op in found.layers()] == ["rows"]


def test_a_product_with_a_stored_matrix_is_a_layer(tmp_path: Path) -> None:
    build = Builder()
    source, result = floats_of(build, "x", "y")
    kernel = build.tensor("k", (32, 32), "float32", value=[[1.0] * 32] * 32)
    build.op("BATCH_MATMUL", [source, kernel], result)
    build.graph.inputs, build.graph.outputs = [source], [result]
    assert inspect_file(write_tflite(tmp_path / "m.tflite", build, None)).true_scheme == "fp32"


@pytest.mark.parametrize(("weights", "scheme"), [("int8", "w8"), ("float32", "fp32")])
def test_a_recurrent_layer_is_a_layer(weights: str, scheme: str, tmp_path: Path) -> None:
    build = Builder()
    source, result = floats_of(build, "x", "y")
    kernel = build.tensor("k", (32, 32), weights, 0.01, value=[[1] * 32] * 32)
    build.op("UNIDIRECTIONAL_SEQUENCE_LSTM", [source, -1, kernel, kernel, kernel], result)
    build.graph.inputs, build.graph.outputs = [source], [result]
    assert inspect_file(write_tflite(tmp_path / "m.tflite", build, None)).true_scheme == scheme
