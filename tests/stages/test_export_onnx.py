"""ONNX files: what Keras computes, in every operator set, and in integers where they say so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from networks import photos, random_network, recipe_of, softmax

from toolchain.contract import Contract, TensorSpec, parse_contract
from toolchain.export import onnx as writer
from toolchain.export.onnx_forms import rewritten
from toolchain.images.preprocess import MEAN_STD, Preprocessing, normalise
from toolchain.inspection.onnx import optimised_ops
from toolchain.inspection.read import inspect_file
from toolchain.inspection.scheme import check_portable, check_promise
from toolchain.quantization.calibrate import calibrate
from toolchain.quantization.fold import fold, to_keras
from toolchain.quantization.graph import Graph, Node, affine, input_affine
from toolchain.quantization.integers import IntegerNetwork
from toolchain.quantization.snap import snap
from toolchain.recipe.sections import ONNX_FORMS
from toolchain.runtimes import open_runner
from toolchain.training.batches import Examples
from toolchain.training.stage import preparation

TOLERANCE = {
    # Largest difference of a probability.
    "fp32": 1e-4,
    # Kernels of eleven bits and of eight, arithmetic in float: the mean one, against fp32.
    "fp16 probability": 1e-3,
    "w8 probability": 0.02,
    # int8 against the same integers.
    "int8": 1e-5,
    # Where onnxruntime computes the file as it is written, in float: the mean one.
    "int8 in float": 0.02,
    # The same arithmetic in another order of axes, or with the softmax outside.
    "variant": 1e-5,
}
CLASSES = 10
IR_OF_OPSET = {13: 8, 15: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10}

# What onnxruntime may make of an integer file; the layout ops move stored bytes.
INTEGER_OPS = {
    "QuantizeLinear",
    "QLinearConv",
    "QLinearAdd",
    "QLinearGlobalAveragePool",
    "QGemm",
    "QLinearMatMul",
    "MaxPool",
    "NhwcMaxPool",
    "Transpose",
    "Flatten",
    "DequantizeLinear",
    "Softmax",
}

NETWORKS = {
    "mobilenet even": ("mobilenet_v2", 48, {"pool": "avg"}),
    "mobilenet odd": ("mobilenet_v2", 49, {"pool": "avg", "dense": [16]}),
    "mobilenet max": ("mobilenet_v2", 33, {"pool": "max"}),
    "mobilenet flatten": ("mobilenet_v2", 65, {"pool": "flatten", "dense": [16]}),
    "vgg avg": ("vgg16", 32, {"pool": "avg", "dense": [16]}),
    "vgg max odd": ("vgg16", 71, {"pool": "max"}),
    "vgg flatten odd": ("vgg16", 71, {"pool": "flatten", "dense": [16, 8]}),
    "cnn odd": ("cnn", 37, {"pool": "flatten", "dense": [16]}),
}


def contract_of(graph: Graph, **changes) -> Contract:
    """The contract of a plain file: float32 [N, size, size, 3] in, probabilities out."""
    size = graph.size
    plain = Contract(
        name="x",
        format="onnx",
        precision="fp32",
        labels=tuple(map(str, range(CLASSES))),
        preprocessing=Preprocessing.of("symmetric", size),
        input=TensorSpec("image", (-1, size, size, 3), "float32"),
        output=TensorSpec("probabilities", (-1, CLASSES), "float32"),
        lineage={},
    )
    return replace(plain, **changes)


def to_onnx(graph: Graph, ranges: dict | None, opset: int = 17, **changes) -> bytes:
    return writer.to_onnx(graph, ranges, contract_of(graph, **changes), opset)


class Case:
    """A random network, its graph, ranges from photos, and the photos."""

    def __init__(self, backbone: str, size: int, head: dict) -> None:
        recipe = recipe_of(size, backbone, model={"head": head})
        self.network = random_network(recipe, CLASSES)
        self.graph = fold(self.network)
        self.way = Preprocessing.of(recipe.input.pixels, size)
        self.pixels = pixels = photos(48, size)
        examples = Examples(pixels, np.zeros(48, np.int64), np.arange(48))
        self.ranges = calibrate(self.graph, examples, preparation(recipe), self.way, "minmax")
        self.graph = snap(self.graph, self.ranges)
        self.images = normalise(pixels, self.way)


@pytest.fixture(scope="module", params=NETWORKS)
def case(request, small_vgg_network) -> Case:
    return Case(*NETWORKS[request.param])


def session(data: bytes, optimised: bool = True) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def answers(data: bytes, images: np.ndarray, **how: bool) -> np.ndarray:
    return session(data, **how).run(["probabilities"], {"image": images})[0]


def test_a_float_file_computes_what_keras_computes(case: Case) -> None:
    data = to_onnx(fold(case.network), None)
    logits = case.network(case.images, training=False).numpy()
    # Wide enough logits make probabilities 0 and 1, and the comparison blind.
    expected = softmax(logits)
    assert np.median(expected.max(axis=1)) < 0.999
    for batch in (1, 5):
        found = answers(data, case.images[:batch])
        assert found.shape == (batch, CLASSES)
        assert np.abs(found - expected[:batch]).max() < TOLERANCE["fp32"]


def test_kernels_stored_small_change_little_and_cost_no_time(case: Case, tmp_path: Path) -> None:
    """onnxruntime has made float32 kernels of them before the first image: no op is added."""
    graph = fold(case.network)
    plain = tmp_path / "x.fp32.onnx"
    plain.write_bytes(to_onnx(graph, None))
    expected, ops = answers(plain.read_bytes(), case.images), optimised_ops(plain)
    for precision in ("fp16", "w8"):
        path = tmp_path / f"x.{precision}.onnx"
        path.write_bytes(to_onnx(graph, None, precision=precision))
        found = answers(path.read_bytes(), case.images)
        assert 0 < np.abs(found - expected).mean() < TOLERANCE[f"{precision} probability"]
        assert np.abs(answers(path.read_bytes(), case.images, optimised=False) - found).max() < 1e-4
        check_promise(inspect_file(path), precision)
        assert optimised_ops(path) == ops


def test_an_integer_file_computes_the_same_integers(case: Case) -> None:
    data = to_onnx(case.graph, case.ranges)
    expected = softmax(IntegerNetwork(case.graph, case.ranges)(case.images).numpy())
    assert np.median(expected.max(axis=1)) < 0.999
    assert np.abs(answers(data, case.images) - expected).max() < TOLERANCE["int8"]
    off = np.abs(answers(data, case.images, optimised=False) - expected)
    assert off.mean() < TOLERANCE["int8 in float"]


def test_onnxruntime_runs_every_layer_in_integers(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "x.int8-qat.onnx"
    path.write_bytes(to_onnx(case.graph, case.ranges))
    check_portable(inspect_file(path))
    ops = optimised_ops(path)
    kinds = [node.op for node in case.graph.nodes]
    assert ops["QLinearConv"] == kinds.count("conv") + kinds.count("depthwise")
    assert ops["QGemm"] + ops["QLinearMatMul"] == kinds.count("dense")
    assert ops["QLinearAdd"] == kinds.count("add")
    assert ops["QLinearGlobalAveragePool"] == kinds.count("mean")
    assert ops["MaxPool"] + ops["NhwcMaxPool"] == kinds.count("max_pool") + kinds.count("max")
    # The image goes in and the logits come out: everything between is integer, pools and sums too.
    assert ops["QuantizeLinear"] == ops["DequantizeLinear"] == 1
    assert set(ops) <= INTEGER_OPS


@pytest.fixture(scope="module")
def small(small_vgg_network) -> Case:
    return Case("vgg16", 32, {"pool": "flatten", "dense": [16]})


@pytest.mark.parametrize("opset", range(13, 22))
@pytest.mark.parametrize("precision", ["fp32", "fp16", "w8", "int8-qat"])
def test_every_operator_set_gives_the_same_numbers(small: Case, opset: int, precision: str) -> None:
    ranges = small.ranges if precision == "int8-qat" else None
    data = to_onnx(small.graph, ranges, opset, precision=precision)
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", opset)]
    assert model.ir_version == IR_OF_OPSET.get(opset, model.ir_version)
    expected = answers(to_onnx(small.graph, ranges, precision=precision), small.images)
    assert np.abs(answers(data, small.images) - expected).max() < TOLERANCE["fp32"]


def test_the_file_says_what_goes_in_and_comes_out(small: Case) -> None:
    for ranges in (None, small.ranges):
        model = onnx.load_from_string(to_onnx(small.graph, ranges))
        (given,), (returned,) = model.graph.input, model.graph.output
        assert (given.name, returned.name) == ("image", "probabilities")
        axes = [a.dim_param or a.dim_value for a in given.type.tensor_type.shape.dim]
        assert axes == ["N", 32, 32, 3]
        axes = [a.dim_param or a.dim_value for a in returned.type.tensor_type.shape.dim]
        assert axes == ["N", CLASSES]
        (carried,) = model.metadata_props
        assert carried.key == "toolchain.contract"
        assert parse_contract(carried.value, "x") == contract_of(small.graph)
        assert not any(t.external_data for t in model.graph.initializer)


def test_zero_points_are_written_once_a_length(small: Case) -> None:
    model = onnx.load_from_string(to_onnx(small.graph, small.ranges))
    read = [name for node in model.graph.node for name in node.input]
    zeros = [one for one in model.graph.initializer if one.name.startswith("zeros_")]
    kinds = {(one.data_type, tuple(one.dims)) for one in zeros}
    assert len(kinds) == len(zeros) < sum(name.startswith("zeros_") for name in read)
    assert not any(onnx.numpy_helper.to_array(one).any() for one in zeros)


def test_the_same_network_is_the_same_file(small: Case) -> None:
    once = to_onnx(small.graph, small.ranges)
    assert to_onnx(small.graph, small.ranges) == once


def test_probabilities_sum_to_one(small: Case) -> None:
    for ranges in (None, small.ranges):
        found = answers(to_onnx(small.graph, ranges), small.images)
        assert found.sum(axis=1) == pytest.approx(np.ones(len(found)), abs=1e-5)


def test_the_folded_graph_is_what_was_written(small: Case) -> None:
    """The float file of snapped biases equals the Keras model of the same graph."""
    expected = softmax(to_keras(small.graph)(small.images).numpy())
    found = answers(to_onnx(small.graph, None), small.images)
    assert np.abs(found - expected).max() < TOLERANCE["fp32"]


VARIANTS = {
    "nchw": {"layout": "NCHW", "input": TensorSpec("image", (-1, 3, 32, 32), "float32")},
    "static": {
        "input": TensorSpec("image", (1, 32, 32, 3), "float32"),
        "output": TensorSpec("probabilities", (1, CLASSES), "float32"),
    },
    "uint8": {"input": TensorSpec("image", (-1, 32, 32, 3), "uint8")},
    "uint8 nchw": {"layout": "NCHW", "input": TensorSpec("image", (-1, 3, 32, 32), "uint8")},
    "logits": {
        "output": TensorSpec("logits", (-1, CLASSES), "float32"),
        "output_kind": "logits",
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("precision", ["fp32", "int8-qat"])
def test_every_variant_answers_as_the_plain_file_through_its_contract(
    small: Case, precision: str, variant: str, tmp_path: Path
) -> None:
    """Opened from its contract alone: dtype, layout, batch and kind of output."""
    ranges = small.ranges if precision == "int8-qat" else None
    plain, other = tmp_path / "x.onnx", tmp_path / "y.onnx"
    way = {"preprocessing": small.way, "precision": precision}
    plain.write_bytes(to_onnx(small.graph, ranges, **way))
    other.write_bytes(to_onnx(small.graph, ranges, **way, **VARIANTS[variant]))
    expected = open_runner(plain).run(small.pixels[:6])
    runner = open_runner(other)
    assert runner.contract == contract_of(small.graph, **way, **VARIANTS[variant])
    assert np.abs(runner.run(small.pixels[:6]) - expected).max() < TOLERANCE["variant"]
    found = inspect_file(other)
    assert found.true_scheme == ("fp32" if ranges is None else "int8")
    assert found.float_islands == ()


@pytest.mark.parametrize("form", ONNX_FORMS)
def test_raw_bytes_are_the_stored_image_of_an_integer_file(
    small: Case, form: str, tmp_path: Path
) -> None:
    """No arithmetic lies between the bytes that come in and the first layer, in any form."""
    changes = {"preprocessing": small.way, "precision": "int8-qat", **VARIANTS["uint8"]}
    floats, bytes_in = tmp_path / "x.int8-qat.onnx", tmp_path / "y.int8-qat.onnx"
    plain = to_onnx(small.graph, small.ranges, preprocessing=small.way, precision="int8-qat")
    floats.write_bytes(rewritten(plain, form))
    bytes_in.write_bytes(rewritten(to_onnx(small.graph, small.ranges, **changes), form))
    names = {op.name for op in inspect_file(bytes_in).ops}
    assert not names & {"Cast", "Sub", "Div"}
    assert inspect_file(bytes_in).float_islands == ()
    expected = open_runner(floats).run(small.pixels)
    assert np.array_equal(open_runner(bytes_in).run(small.pixels), expected)


@pytest.mark.parametrize("pixels", MEAN_STD)
def test_every_preprocessing_rounds_each_byte_to_itself(pixels: str) -> None:
    way, values = Preprocessing.of(pixels, 16), np.arange(256, dtype=np.uint8)
    point = input_affine(way.mean, way.std)
    images = normalise(np.broadcast_to(values[:, None, None, None], (256, 16, 16, 3)), way)
    stored = np.round(images[:, 0, 0, 0] / np.float32(point.scale)) + point.zero_point
    assert np.array_equal(stored, values)


def test_bytes_of_another_range_are_normalised_first(small: Case, tmp_path: Path) -> None:
    """Ranges that are not those of the preprocessing: then a byte is not its own rounding."""
    ranges = {**small.ranges, "image": input_affine(128.0, 120.0)}
    changes = {"preprocessing": small.way, "precision": "int8-qat", **VARIANTS["uint8"]}
    floats, bytes_in = tmp_path / "x.onnx", tmp_path / "y.onnx"
    floats.write_bytes(to_onnx(small.graph, ranges, preprocessing=small.way, precision="int8-qat"))
    bytes_in.write_bytes(to_onnx(small.graph, ranges, **changes))
    assert "Div" in {op.name for op in inspect_file(bytes_in).ops}
    expected = open_runner(floats).run(small.pixels)
    assert np.abs(open_runner(bytes_in).run(small.pixels) - expected).max() < TOLERANCE["variant"]


def test_a_dense_layer_after_flatten_reads_its_kernel_in_the_order_it_was_scaled_for() -> None:
    """What is next to what decides whether x86 without VNNI cuts products off at 16 bits."""
    kernel = np.full((4 * 4 * 8, CLASSES), 0.01, np.float32)
    # Neighbours when channels come first: the same channel at two places side by side.
    kernel[[3, 8 + 3], 0] = 1.0
    nodes = (
        Node("conv", "conv", ("image",)),
        Node("relu", "relu", ("conv",)),
        Node("flat", "flatten", ("relu",)),
        Node("logits", "dense", ("flat",)),
    )
    random = np.random.default_rng(0)
    arrays = {
        "conv/kernel": random.normal(size=(3, 3, 3, 8)).astype(np.float32),
        "conv/bias": np.zeros(8, np.float32),
        "logits/kernel": kernel,
        "logits/bias": np.zeros(CLASSES, np.float32),
    }
    ranges = {
        "image": input_affine(128.0, 127.5),
        "relu": affine(0, 6),
        "logits": affine(-20, 20),
    }
    model = onnx.load_from_string(to_onnx(Graph(4, nodes, arrays), ranges, precision="int8-qat"))
    found = {tensor.name: tensor for tensor in model.graph.initializer}
    stored = onnx.numpy_helper.to_array(found["logits_weight_q"]).astype(np.int64)
    assert stored.shape == (CLASSES, 4 * 4 * 8)
    for sign in (1, -1):
        pairs = np.maximum(sign * stored, 0).reshape(CLASSES, -1, 2).sum(axis=2)
        assert 255 * pairs.max() <= 32_767
