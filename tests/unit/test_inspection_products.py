"""Which layers of a file are told to overflow 16 bits, and what onnxruntime makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_inspection_overflow import has_vnni, is_x86
from tiny_onnx import Builder

from toolchain.cli.inspect import _portability
from toolchain.errors import GateError
from toolchain.inspection import Inspection, check_portable, inspect_file

# Between exact products and those that were cut off; rounding to 8 bits is far less.
CUT_OFF = 0.05
PROVEN, OVERFLOWING, UNPROVEN = "proven", "overflowing", "unproven"


@dataclass(frozen=True)
class Layer:
    """One layer of a QDQ file; its data are all at the top of their range.

    Attributes:
      verdict: what inspect is to say of it.
      cut_off: whether onnxruntime cuts its products off on x86 without VNNI.
      op, shape, group: the layer, its kernel's shape, groups of a convolution.
      data, kernel: dtypes; "float" is a float kernel, "float quantized" one behind QuantizeLinear.
      value: of all weights, as stored.
      between: an op between DequantizeLinear and the layer, which changes nothing.
      rounded: whether QuantizeLinear follows.
      in_node: whether the kernel lies in a Constant node.
    """

    verdict: str
    cut_off: bool
    op: str = "Conv"
    shape: tuple[int, ...] = (16, 8, 3, 3)
    group: int = 1
    data: str = "uint8"
    kernel: str = "int8"
    value: int = 127
    between: str = ""
    rounded: bool = True
    in_node: bool = False

    def build(self) -> tuple[bytes, np.ndarray]:
        """The file, and an image for it."""
        build = Builder()
        self._data(build)
        self._kernel(build)
        groups = {"group": self.group} if self.op == "Conv" else {}
        build.node(self.op, [self.between or "data", "kernel"], "layer", **groups)
        if self.rounded:
            pair = [build.constant("step", 0.6, np.float32), build.constant("mid", 0, self.data)]
            build.node("QuantizeLinear", ["layer", *pair], "rounded")
            build.node("DequantizeLinear", ["rounded", *pair], "y")
        else:
            build.node("Mul", ["layer", build.constant("half", 0.5, np.float32)], "y")
        return self._packed(build)

    def _data(self, build: Builder) -> None:
        lowest = np.iinfo(self.data).min
        pair = [build.constant("s", 1 / 255, np.float32), build.constant("z", lowest, self.data)]
        build.node("QuantizeLinear", ["x", *pair], "bytes")
        build.node("DequantizeLinear", ["bytes", *pair], "data")
        if self.between == "Cast":
            build.node("Cast", ["data"], "Cast", to=TensorProto.FLOAT)
        elif self.between == "Slice":
            edges = [build.constant(n, [v], np.int64) for n, v in (("from", 0), ("to", 99))]
            build.node("Slice", ["data", *edges], "Slice")

    def _kernel(self, build: Builder) -> None:
        if self.kernel.startswith("float"):
            name = "kernel" if self.kernel == "float" else "weights"
            build.constant(name, np.full(self.shape, self.value / 127), np.float32)
            if self.kernel == "float":
                return
        scale = build.constant("ks", 1 / 127, np.float32)
        zero = build.constant("kz", 0, "int8" if self.kernel != "uint8" else "uint8")
        if self.kernel == "float quantized":
            build.node("QuantizeLinear", ["weights", scale, zero], "stored")
        elif self.in_node:
            value = numpy_helper.from_array(np.full(self.shape, self.value, self.kernel))
            build.node("Constant", [], "stored", value=value)
        else:
            build.constant("stored", np.full(self.shape, self.value), self.kernel)
        build.node("DequantizeLinear", ["stored", scale, zero], "kernel")

    def _packed(self, build: Builder) -> tuple[bytes, np.ndarray]:
        if self.op == "Conv":
            image = np.ones((1, self.shape[1] * self.group, 9, 9), np.float32)
        else:
            image = np.ones((4, self.shape[-2]), np.float32)
        graph = helper.make_graph(
            build.nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, image.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            build.initializers,
        )
        sets = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=sets, ir_version=8)
        return model.SerializeToString(), image


DENSE: dict[str, Any] = {"shape": (72, 16)}
LAYERS = {
    "conv": Layer(OVERFLOWING, True),
    "halved": Layer(PROVEN, False, value=63),
    "depthwise": Layer(PROVEN, False, shape=(16, 1, 3, 3), group=16),
    "two outputs a group": Layer(OVERFLOWING, True, shape=(16, 1, 3, 3), group=8),
    "four inputs a group": Layer(OVERFLOWING, True, shape=(16, 4, 3, 3), group=4),
    "conv s8s8": Layer(OVERFLOWING, True, data="int8"),
    "conv u8u8": Layer(PROVEN, False, kernel="uint8"),
    "conv in Constant": Layer(OVERFLOWING, True, in_node=True),
    "halved in Constant": Layer(PROVEN, False, value=63, in_node=True),
    "conv after Slice": Layer(OVERFLOWING, True, between="Slice"),
    "conv after Cast": Layer(OVERFLOWING, True, between="Cast"),
    "conv of float weights quantized": Layer(UNPROVEN, True, kernel="float quantized"),
    "conv of float weights": Layer(UNPROVEN, True, kernel="float"),
    "conv of float weights in float": Layer("", False, kernel="float", rounded=False),
    "dense": Layer(OVERFLOWING, True, "Gemm", **DENSE),
    "dense to float": Layer(OVERFLOWING, True, "Gemm", rounded=False, **DENSE),
    "product": Layer(OVERFLOWING, True, "MatMul", **DENSE),
    "product to float": Layer(OVERFLOWING, True, "MatMul", rounded=False, **DENSE),
    "product s8s8 to float": Layer(
        OVERFLOWING, True, "MatMul", data="int8", rounded=False, **DENSE
    ),
    "product u8u8 to float": Layer(PROVEN, False, "MatMul", kernel="uint8", rounded=False, **DENSE),
    "product of float weights": Layer("", False, "MatMul", kernel="float", **DENSE),
}


def verdicts(found: Inspection) -> set[str]:
    return {what for what in (PROVEN, OVERFLOWING, UNPROVEN) if getattr(found, what)}


def answer(data: bytes, image: np.ndarray, optimised: bool) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": image})[0]


@pytest.mark.parametrize("name", LAYERS)
def test_what_is_told_of_a_layer_holds_in_onnxruntime(name: str, tmp_path: Path) -> None:
    """Its optimised graph computes integers, the other one floats."""
    layer = LAYERS[name]
    data, image = layer.build()
    path = tmp_path / "x.onnx"
    path.write_bytes(data)
    found = inspect_file(path)
    assert verdicts(found) == ({layer.verdict} if layer.verdict else set())
    if is_x86():
        floats, integers = answer(data, image, False), answer(data, image, True)
        differs = np.abs(integers / floats - 1).max() > CUT_OFF
        assert differs == (layer.cut_off and not has_vnni())


@pytest.mark.parametrize("name", LAYERS)
def test_the_same_everywhere_is_said_of_proven_files_alone(name: str, tmp_path: Path) -> None:
    layer = LAYERS[name]
    path = tmp_path / "x.onnx"
    path.write_bytes(layer.build()[0])
    found = inspect_file(path)
    said = " ".join(_portability(found))
    assert ("the same integers on every processor" in said) == (layer.verdict == PROVEN)
    assert ("1 layer may compute otherwise" in said) == (layer.verdict == OVERFLOWING)
    assert ("1 layer could not be proven" in said) == (layer.verdict == UNPROVEN)
    if layer.verdict in (OVERFLOWING, UNPROVEN):
        with pytest.raises(GateError, match="1 layer "):
            check_portable(found)
    else:
        check_portable(found)


def integer_file(path: Path, op: str, data: str, kernel: str) -> Path:
    """One op of stored integers, full kernels; MatMulInteger and ConvInteger have no scales."""
    is_convolution = op == "ConvInteger"
    shape = (4, 3, 3, 3) if is_convolution else (24, 4)
    node = helper.make_node(op, ["x", "w"], ["y"])
    elements = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8}
    image = [1, 3, 9, 9] if is_convolution else [2, 24]
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", elements[data], image)],
        [helper.make_tensor_value_info("y", TensorProto.INT32, None)],
        [numpy_helper.from_array(np.full(shape, 127, kernel), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("op", "data", "kernel", "verdict"),
    [
        ("MatMulInteger", "uint8", "int8", OVERFLOWING),
        ("MatMulInteger", "int8", "int8", PROVEN),
        ("MatMulInteger", "uint8", "uint8", PROVEN),
        # Its kernel is the left of the two factors.
        ("ConvInteger", "uint8", "int8", PROVEN),
        ("ConvInteger", "int8", "uint8", UNPROVEN),
    ],
)
def test_integer_operators_that_are_not_fused(op, data, kernel, verdict, tmp_path: Path) -> None:
    path = integer_file(tmp_path / "x.onnx", op, data, kernel)
    assert verdicts(inspect_file(path)) == {verdict}
    if not is_x86() or has_vnni():
        return
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    image = np.full(given.shape, np.iinfo(data).max, data)
    largest = 27 if op == "ConvInteger" else 24
    exact = largest * 127 * int(np.iinfo(data).max)
    found = session.run(None, {"x": image})[0]
    assert (found.max() != exact) == (verdict == OVERFLOWING)


@pytest.mark.parametrize("element", [TensorProto.INT16, 29, 99])
def test_a_kernel_of_another_type_than_its_zero_point_is_not_proven(element, tmp_path) -> None:
    model = onnx.load_from_string(LAYERS["conv"].build()[0])
    next(one for one in model.graph.initializer if one.name == "stored").data_type = element
    path = tmp_path / "x.onnx"
    path.write_bytes(model.SerializeToString())
    assert verdicts(inspect_file(path)) == {UNPROVEN}


def test_every_matrix_of_a_stack_begins_with_a_pair_of_its_own(tmp_path: Path) -> None:
    """With three rows each, the second's first row is no neighbour of the first's last."""
    stack = np.zeros((2, 3, 4), np.int8)
    stack[0, 2] = stack[1, 0] = 127
    build = Builder()
    pair = [build.constant("s", 1 / 255, np.float32), build.constant("z", 0, np.uint8)]
    build.node("QuantizeLinear", ["x", *pair], "bytes")
    build.node("DequantizeLinear", ["bytes", *pair], "data")
    scale = build.constant("ks", 1 / 127, np.float32)
    build.constant("stored", stack, np.int8)
    build.node("DequantizeLinear", ["stored", scale], "kernel")
    build.node("MatMul", ["data", "kernel"], "y")
    graph = helper.make_graph(
        build.nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 5, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        build.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "x.onnx"
    path.write_bytes(model.SerializeToString())
    assert verdicts(inspect_file(path)) == {PROVEN}
    stack[1, 1] = 127
    model.graph.initializer[-1].CopyFrom(numpy_helper.from_array(stack, "stored"))
    path.write_bytes(model.SerializeToString())
    assert verdicts(inspect_file(path)) == {OVERFLOWING}
