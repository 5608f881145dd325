"""TFLite files: what Keras computes, raw bytes where asked, and a well-formed flatbuffer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from networks import photos, random_network, recipe_of, softmax

from toolchain.export.flatbuffer import embed, tensor_specs
from toolchain.export.tflite import convert
from toolchain.images.preprocess import Preprocessing, normalise
from toolchain.inspection.read import inspect_file
from toolchain.inspection.scheme import check_promise
from toolchain.quantization.calibrate import calibrate
from toolchain.quantization.fold import fold
from toolchain.quantization.graph import IMAGE
from toolchain.quantization.integers import IntegerNetwork
from toolchain.quantization.snap import snap
from toolchain.runtimes.carried import read_contract
from toolchain.training.batches import Examples
from toolchain.training.stage import preparation

TOLERANCE = {
    "fp32": 1e-4,
    # float16 keeps 11 bits of a kernel; int8 kernels with activations rounded when they are met.
    "fp16": 5e-3,
    "w8": 0.1,
    # What 8-bit softmax and rounding to steps of 1/256 may be off the float one.
    "uint8 probability, steps": 1.0,
    # Of the 1 there is from one byte to the next.
    "byte": 1e-3,
    # The same integers, and the softmax in another place.
    "same integers": 1e-5,
}
SIZE, CLASSES = 33, 10
ALIGNMENT = 16


class Case:
    """A small VGG16 with random weights: max pooling at an odd size, flatten, two dense layers."""

    def __init__(self) -> None:
        head = {"pool": "flatten", "dense": [16]}
        # Not VGG16's own range, but the one whose usual mean, 127.5, is no whole byte.
        recipe = recipe_of(
            SIZE, "vgg16", model={"head": head}, input={"size": SIZE, "pixels": "symmetric"}
        )
        self.network = random_network(recipe, CLASSES)
        graph = fold(self.network)
        self.pixels = photos(48, SIZE)
        self.way = Preprocessing.of(recipe.input.pixels, SIZE)
        examples = Examples(self.pixels, np.zeros(48, np.int64), np.arange(48))
        self.ranges = calibrate(graph, examples, preparation(recipe), self.way, "minmax")
        self.graph = snap(graph, self.ranges)
        self.images = normalise(self.pixels, self.way)
        self.exact = softmax(IntegerNetwork(self.graph, self.ranges)(self.images).numpy())


@pytest.fixture(scope="module")
def case(small_vgg_network) -> Case:
    return Case()


@pytest.fixture(scope="module")
def files(case: Case) -> dict[str, bytes]:
    """Conversions cost seconds each."""
    return {
        "fp16": convert(fold(case.network), None, "float32", kernels="float16"),
        "w8": convert(fold(case.network), None, "float32", kernels="int8"),
        "fp32": convert(fold(case.network), None, "float32"),
        "int8": convert(case.graph, case.ranges, "float32"),
        "uint8": convert(case.graph, case.ranges, "uint8"),
        "logits": convert(case.graph, case.ranges, "uint8", output="logits"),
    }


def answers(data: bytes, inputs: np.ndarray, output: str = "probabilities") -> np.ndarray:
    interpreter = Interpreter(model_content=data)
    run = interpreter.get_signature_runner()
    return np.concatenate([run(image=one[None])[output] for one in inputs])


def test_a_float_file_computes_what_keras_computes(case: Case, files) -> None:
    expected = softmax(case.network(case.images, training=False).numpy())
    assert np.median(expected.max(axis=1)) < 0.999
    assert np.abs(answers(files["fp32"], case.images) - expected).max() < TOLERANCE["fp32"]


@pytest.mark.parametrize("kind", ["fp16", "w8"])
def test_kernels_stored_small_change_little_and_save_space(case, files, kind, tmp_path) -> None:
    expected = softmax(case.network(case.images, training=False).numpy())
    found = answers(files[kind], case.images)
    assert 0 < np.abs(found - expected).max() < TOLERANCE[kind]
    path = tmp_path / f"x.{kind}.tflite"
    path.write_bytes(files[kind])
    check_promise(inspect_file(path), kind)
    assert len(files[kind]) < len(files["fp32"]) * (0.75 if kind == "fp16" else 0.6)


def test_an_integer_file_computes_the_same_integers(case: Case, files) -> None:
    assert np.median(case.exact.max(axis=1)) < 0.999
    found = answers(files["int8"], case.images)
    assert np.abs(found - case.exact).max() < TOLERANCE["same integers"]


def test_float_probabilities_of_an_integer_file_have_no_steps(case: Case, files) -> None:
    """The softmax runs on the dequantized logits: ties between classes would come from 1/256."""
    found = answers(files["int8"], case.images)
    assert found.sum(axis=1) == pytest.approx(np.ones(len(found)), abs=1e-5)
    assert np.abs(found * 256 - np.round(found * 256)).max() > 0.1


def test_a_uint8_file_takes_raw_rgb_bytes(case: Case, files) -> None:
    """What a client with floats has rounded for it is the very byte that another one hands over."""
    given, returned = tensor_specs(files["uint8"])
    assert (given.dtype, returned.dtype) == ("uint8", "uint8")
    every_byte = np.arange(256, dtype=np.uint8)
    exact = normalise(every_byte, case.way) / given.scale + given.zero_point
    assert np.abs(exact - every_byte).max() < TOLERANCE["byte"]
    stored = answers(files["uint8"], case.pixels).astype(np.float64)
    steps = answers(files["int8"], case.images) / returned.scale + returned.zero_point
    assert np.abs(stored - steps).max() <= TOLERANCE["uint8 probability, steps"]
    assert len(np.unique(stored)) > 20


def test_raw_bytes_give_the_logits_of_normalised_floats(case: Case, files) -> None:
    """The logits of a uint8 file, dequantized, have the very softmax of the float-in file."""
    given, returned = tensor_specs(files["logits"])
    assert (given.dtype, returned.name, returned.dtype) == ("uint8", "logits", "uint8")
    stored = answers(files["logits"], case.pixels, "logits").astype(np.float32)
    logits = (stored - np.float32(returned.zero_point)) * np.float32(returned.scale)
    found = answers(files["int8"], case.images)
    assert np.abs(softmax(logits) - found).max() < TOLERANCE["same integers"]


@pytest.mark.parametrize("kind", ["fp32", "fp16", "w8", "int8", "uint8"])
def test_the_signature_names_the_tensors_and_fixes_the_batch(files, kind: str) -> None:
    given, returned = tensor_specs(files[kind])
    assert (given.name, given.shape) == (IMAGE, (1, SIZE, SIZE, 3))
    assert (returned.name, returned.shape) == ("probabilities", (1, CLASSES))
    interpreter = Interpreter(model_content=files[kind])
    (signature,) = interpreter.get_signature_list().values()
    assert signature == {"inputs": [IMAGE], "outputs": ["probabilities"]}
    assert interpreter.get_input_details()[0]["name"] == IMAGE


@pytest.mark.parametrize("kind", ["fp32", "int8", "uint8"])
def test_a_runtime_may_resize_the_batch(files, case: Case, kind: str) -> None:
    inputs = case.pixels if kind == "uint8" else case.images
    interpreter = Interpreter(model_content=files[kind])
    place = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(place, (4, SIZE, SIZE, 3))
    interpreter.allocate_tensors()
    interpreter.set_tensor(place, inputs[:4])
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    assert np.abs(found - answers(files[kind], inputs[:4]).astype(found.dtype)).max() <= 1e-5


@pytest.mark.parametrize("kind", ["fp32", "int8", "uint8"])
def test_an_integer_file_has_integer_layers_alone(files, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{kind}.tflite"
    path.write_bytes(files[kind])
    inspection = inspect_file(path)
    assert inspection.true_scheme == ("fp32" if kind == "fp32" else "int8")
    assert inspection.float_islands == ()
    assert len(inspection.layers()) == 8


def test_zero_points_are_written_once_a_length(files) -> None:
    """Eight bytes a channel, of kernels and biases alike: a fifth of a small MobileNetV2."""
    graph = schema.Model.GetRootAs(files["int8"]).Subgraphs(0)
    found: dict[int, set[int]] = {}
    for place in range(graph.TensorsLength()):
        quantization = graph.Tensors(place).Quantization()
        if quantization is not None and quantization.ZeroPointLength() > 1:
            points = quantization.ZeroPointAsNumpy()
            assert not points.any()
            found.setdefault(len(points), set()).add(points.__array_interface__["data"][0])
    assert len(found) > 2
    assert all(len(places) == 1 for places in found.values())


@pytest.mark.parametrize("kind", ["fp32", "fp16", "w8", "int8", "uint8", "logits"])
def test_builtin_operations_alone_are_used(files, kind: str) -> None:
    """Others need a runtime with more in it: LiteRT's and MediaPipe's have these alone."""
    codes = schema.ModelT.InitFromPackedBuf(bytearray(files[kind]), 0).operatorCodes
    assert codes
    for code in codes:
        assert code.customCode is None
        assert code.builtinCode != schema.BuiltinOperator.CUSTOM


def unaligned(data: bytes) -> list[int]:
    """Buffers whose first byte does not lie where the schema wants it."""
    model = schema.Model.GetRootAs(bytearray(data), 0)
    found = []
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if buffer.DataLength():
            table = buffer._tab
            start = table.Vector(table.Offset(4))
            if start % ALIGNMENT:
                found.append(index)
    return found


@pytest.mark.parametrize("kind", ["fp32", "int8", "uint8"])
def test_every_buffer_is_aligned_with_and_without_a_contract(files, kind: str) -> None:
    for text in ("", "x", "a contract of some length"):
        data = embed(files[kind], {"x": text.encode()}) if text else files[kind]
        assert data[4:8] == b"TFL3"
        assert unaligned(data) == []


def test_embedding_changes_no_answer(files, case: Case) -> None:
    data = embed(files["int8"], {"x": b"{}"})
    few = case.images[:4]
    assert np.array_equal(answers(data, few), answers(files["int8"], few))


@pytest.mark.parametrize("precision", ["fp32", "int8-qat"])
def test_the_files_of_the_digits_are_aligned_and_carry_their_contract(
    digits_run, precision: str
) -> None:
    path = digits_run.exported(f"digits.{precision}.tflite")
    assert unaligned(path.read_bytes()) == []
    assert read_contract(path).precision == precision
