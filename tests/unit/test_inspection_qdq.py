"""What inspect calls int8 of foreign files, and what onnxruntime makes of the same files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from tiny_onnx import Builder

from toolchain.errors import GateError
from toolchain.inspection import Inspection, check_promise, inspect_file, optimised_ops

# What an optimised graph of integers may hold besides onnxruntime's own integer ops: these round,
# move numbers, or stand behind the network's last DequantizeLinear.
NO_FLOATS = {"QuantizeLinear", "DequantizeLinear", "Transpose", "Reshape", "Flatten", "Resize"}
NO_FLOATS |= {"NhwcMaxPool", "Split", "Gather", "MatMulIntegerToFloat", "LogSoftmax", "TopK"}


class Net(Builder):
    """A network of QDQ form in the making; "x" is its input, uint8 behind the first pair."""

    def pair(self, name: str, step: float = 0.05, zero: int = 0, dtype: str = "uint8") -> str:
        steps = [self.constant(f"{name}_step", step, np.float32)]
        steps.append(self.constant(f"{name}_zero", zero, dtype))
        self.node("QuantizeLinear", [name, *steps], f"{name}_q")
        return self.node("DequantizeLinear", [f"{name}_q", *steps], f"{name}_dq")

    def kernel(
        self, name: str, shape: tuple[int, ...], axis: int = 0, *, zeros: bool = True
    ) -> str:
        inputs = [self.constant(f"{name}_i8", np.full(shape, 40), np.int8)]
        inputs.append(self.constant(f"{name}_scale", np.full(shape[axis], 0.01), np.float32))
        if zeros:
            inputs.append(self.constant(f"{name}_zero", np.zeros(shape[axis]), np.int8))
        return self.node("DequantizeLinear", inputs, name, axis=axis)

    def conv(self, data: str, name: str = "conv") -> str:
        return self.node("Conv", [data, self.kernel(f"{name}_k", (4, 4, 1, 1))], name)

    def dense(self, data: str, inputs: int) -> str:
        return self.node("Gemm", [data, self.kernel("dense_k", (inputs, 4), 1)], "dense")

    def floats(self, name: str, *shape: int) -> str:
        return self.constant(name, np.ones(shape), np.float32)

    def integers(self, name: str, *values: int) -> str:
        return self.constant(name, values, np.int64)

    def write(self, path: Path, shape: tuple[Any, ...], opset: int = 17) -> Path:
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            self.initializers,
        )
        domains = {"": opset, "com.microsoft": 1, "com.microsoft.nchwc": 1}
        sets = [helper.make_opsetid(*pair) for pair in domains.items()]
        model = helper.make_model(graph, opset_imports=sets, ir_version=10 if opset > 20 else 8)
        path.write_bytes(model.SerializeToString())
        return path


def keeps_int8(found: Inspection) -> bool:
    try:
        check_promise(found, "int8")
    except GateError:
        return False
    return True


def is_of_integers(path: Path) -> bool:
    """Whether onnxruntime's optimised graph computes nothing in float."""
    ops = {op for op in optimised_ops(path) if not op.startswith(("QLinear", "QGemm"))}
    return ops <= NO_FLOATS


def relu(step: float = 0.05, zero: int = 0, dtype: str = "uint8") -> Callable[[Net, str], str]:
    return lambda net, conv: net.pair(net.node("Relu", [conv], "r"), step, zero, dtype)


def clip(highest: float) -> Callable[[Net, str], str]:
    def behind(net: Net, conv: str) -> str:
        ends = [net.constant("low", 0, np.float32), net.constant("high", 6, np.float32)]
        return net.pair(net.node("Clip", [conv, *ends], "r"), highest / 255)

    return behind


def pool_relu(net: Net, conv: str) -> str:
    return net.pair(net.node("Relu", [net.node("MaxPool", [conv], "m", kernel_shape=[2, 2])], "r"))


def relu_pool(net: Net, conv: str) -> str:
    return net.pair(net.node("MaxPool", [net.node("Relu", [conv], "r")], "m", kernel_shape=[2, 2]))


def two_quantizers(second: float, *, one_zero: bool) -> Callable[[Net, str], str]:
    """Two readers with a pair each: scales of 1 and `second`."""

    def behind(net: Net, conv: str) -> str:
        for name, step in (("a", 1.0), ("b", second)):
            steps = [net.constant(f"{name}_step", step, np.float32)]
            shared = one_zero and name == "b"
            steps.append("a_zero" if shared else net.constant(f"{name}_zero", 0, np.uint8))
            net.node("QuantizeLinear", [conv, *steps], f"{name}_q")
            net.node("DequantizeLinear", [f"{name}_q", *steps], name)
        return net.pair(net.node("Add", ["a", "b"], "sum"))

    return behind


def flatten(net: Net, conv: str) -> str:
    return net.pair(net.node("Flatten", [conv], "f"))


def flatten_before(net: Net, conv: str) -> str:
    return net.pair(net.dense(net.node("Flatten", [net.pair(conv)], "f"), 64))


def flatten_bytes(net: Net, conv: str) -> str:
    flat = net.pair(net.node("Flatten", [net.pair(conv)], "f"))
    return net.pair(net.dense(flat, 64))


def pool_flatten(net: Net, conv: str) -> str:
    return net.pair(
        net.node("Flatten", [net.node("GlobalAveragePool", [net.pair(conv)], "g")], "f")
    )


def pool_reshape(net: Net, conv: str) -> str:
    mean = net.node("GlobalAveragePool", [net.pair(conv)], "g")
    return net.pair(net.node("Reshape", [mean, net.integers("to", 1, 4)], "f"))


def between(op: str, *, zero: int = 0, **attributes: Any) -> Callable[[Net, str], str]:
    """An op with a pair of its own on each side."""
    return lambda net, conv: net.pair(net.node(op, [net.pair(conv)], "b", **attributes), 0.06, zero)


def gate(rounded: bool) -> Callable[[Net, str], str]:
    def behind(net: Net, conv: str) -> str:
        data = net.pair(conv)
        share = net.node("Sigmoid", [data], "s")
        share = net.pair(share, 1 / 256) if rounded else share
        return net.pair(net.node("Mul", [data, share], "m"))

    return behind


def add_constant(net: Net, conv: str) -> str:
    return net.pair(net.node("Add", [net.pair(conv), net.floats("k", 1, 4, 1, 1)], "a"))


def resize(step: float) -> Callable[[Net, str], str]:
    def behind(net: Net, conv: str) -> str:
        sizes = net.constant("times", [1, 1, 2, 2], np.float32)
        return net.pair(net.node("Resize", [net.pair(conv), "", sizes], "r"), step)

    return behind


def view(net: Net, conv: str) -> str:
    """What torch makes of x.view(x.size(0), -1); no value is declared."""
    data = net.pair(conv)
    net.node("Gather", [net.node("Shape", [data], "sh"), net.integers("at")], "n", axis=0)
    net.initializers[-1].CopyFrom(helper.make_tensor("at", TensorProto.INT64, [], [0]))
    net.node("Unsqueeze", ["n", net.integers("axes", 0)], "u")
    net.node("Concat", ["u", net.integers("rest", -1)], "to", axis=0)
    return net.pair(net.dense(net.pair(net.node("Reshape", [data, "to"], "v")), 64))


def dropout(net: Net, conv: str) -> str:
    dropped = net.node("Dropout", [net.node("Relu", [conv], "r")], "d")
    return net.pair(net.conv(net.node("Dropout", [net.pair(dropped)], "e"), "other"))


def pad(value: float) -> Callable[[Net, str], str]:
    def behind(net: Net, conv: str) -> str:
        pads = net.integers("pads", 0, 0, 1, 1, 0, 0, 1, 1)
        inputs = [net.pair(conv), pads, net.constant("with", value, np.float32)]
        return net.pair(net.conv(net.node("Pad", inputs, "p"), "other"))

    return behind


def bias_of_two_steps(net: Net, conv: str) -> str:
    half = net.constant("half", np.ones(4), np.float16)
    cast = net.node("Cast", [half], "cast", to=TensorProto.FLOAT)
    bias = net.node("Mul", [cast, net.constant("twice", 2, np.float32)], "bias")
    kernel = net.kernel("other_k", (4, 4, 1, 1))
    return net.pair(net.node("Conv", [net.pair(conv), kernel, bias], "other"))


def transposed(net: Net, conv: str) -> str:
    """ConvTranspose has no integer kernel."""
    kernel = net.kernel("other_k", (4, 4, 1, 1))
    return net.pair(net.node("ConvTranspose", [net.pair(conv), kernel], "other"))


def last(op: str, **attributes: Any) -> Callable[[Net, str], str]:
    return lambda net, conv: net.node(op, [net.pair(conv)], "l", **attributes)


def best(net: Net, conv: str) -> str:
    """TopK, the last op but one; its second result is read by nobody."""
    inputs = [net.pair(conv), net.integers("k", 2)]
    net.nodes.append(helper.make_node("TopK", inputs, ["best", "where"]))
    return "best"


# Behind a convolution of integers -> whether all is computed in integers.
BEHIND: dict[str, tuple[Callable[[Net, str], str], bool]] = {
    "relu": (relu(), True),
    "relu, int8": (relu(zero=-128, dtype="int8"), True),
    "relu, symmetric int8": (relu(dtype="int8"), False),
    "relu, range from below zero": (relu(zero=3), False),
    "clip": (clip(6), True),
    "clip, narrower range": (clip(5.9), True),
    "clip, wider range": (clip(8), False),
    "relu, pool": (relu_pool, True),
    "pool, relu": (pool_relu, False),
    "two ranges": (two_quantizers(2.0, one_zero=True), False),
    "equal ranges": (two_quantizers(1.0, one_zero=False), False),
    "one range twice": (two_quantizers(1.0, one_zero=True), True),
    "flatten": (flatten, False),
    "flatten before dense": (flatten_before, False),
    "flatten of bytes": (flatten_bytes, True),
    "mean, flatten": (pool_flatten, False),
    "mean, reshape": (pool_reshape, True),
    "relu on its own": (between("Relu"), True),
    "relu on its own, range from below zero": (between("Relu", zero=9), False),
    "hard swish": (between("HardSwish"), False),
    "mean over axes": (between("ReduceMean", axes=[2, 3]), False),
    "leaky relu": (between("LeakyRelu"), True),
    "gate": (gate(True), True),
    "gate of floats": (gate(False), False),
    "add a float constant": (add_constant, False),
    "resize": (resize(0.05), True),
    "view": (view, True),
    "dropout": (dropout, True),
    "zeros around": (pad(0), True),
    "ones around": (pad(1), False),
    "bias of two steps": (bias_of_two_steps, True),
    "transposed convolution": (transposed, False),
    "log softmax last": (last("LogSoftmax"), True),
    "the best last": (best, True),
}


@pytest.mark.parametrize("name", BEHIND)
def test_int8_is_what_onnxruntime_computes_in_integers(name: str, tmp_path: Path) -> None:
    behind, expected = BEHIND[name]
    net = Net()
    net.node("Identity", [behind(net, net.conv(net.pair("x", 1 / 255)))], "y")
    found = inspect_file(path := net.write(tmp_path / "m.int8.onnx", (1, 4, 4, 4)))
    assert (keeps_int8(found), is_of_integers(path)) == (expected, expected)
    floats = {op.output for op in found.layers() if op.kind != "int8"}
    assert not floats & set(found.proven)


def dense(*, bias: str = "", zeros: bool = True, **attributes: Any) -> Callable[[Net, str], str]:
    def behind(net: Net, data: str) -> str:
        inputs = [data, net.kernel("k", (8, 4), 1, zeros=zeros)]
        if bias == "float":
            inputs.append(net.floats("bias", 4))
        elif bias == "int32":
            stored = net.constant("bias_i32", np.ones(4), np.int32)
            scales = net.constant("bias_scale", np.full(4, 0.01 / 255), np.float32)
            inputs.append(net.node("DequantizeLinear", [stored, scales], "bias", axis=0))
        return net.node("Gemm", inputs, "dense", **attributes)

    return behind


def product(net: Net, data: str) -> str:
    return net.node("MatMul", [data, net.kernel("k", (8, 4), 1)], "dense")


def product_without_zeros(net: Net, data: str) -> str:
    return net.node("MatMul", [data, net.kernel("k", (8, 4), 1, zeros=False)], "dense")


def summed(net: Net, data: str) -> str:
    return net.node("Add", [product(net, data), net.floats("bias", 4)], "sum")


def summed_relu(net: Net, data: str) -> str:
    return net.node("Relu", [summed(net, data)], "r")


def rounded(behind: Callable[[Net, str], str]) -> Callable[[Net, str], str]:
    return lambda net, data: net.pair(behind(net, data))


def squared(net: Net, data: str) -> str:
    """A product of activations: no weights, and an op like any other."""
    rows = net.pair(product(net, data))
    columns = net.node("Transpose", [rows], "columns", perm=[1, 0])
    return net.pair(net.node("MatMul", [rows, columns], "square"), 9.0)


DENSE: dict[str, tuple[Callable[[Net, str], str], bool]] = {
    "dense to float": (dense(), True),
    "dense to float, float bias": (dense(bias="float"), False),
    "dense to float, int32 bias": (dense(bias="int32"), True),
    "dense, float bias": (rounded(dense(bias="float")), True),
    "dense, half of the bias": (rounded(dense(bias="int32", beta=0.5)), False),
    "dense without a zero point": (rounded(dense(zeros=False)), False),
    "product without a zero point": (rounded(product_without_zeros), True),
    "product to float": (product, True),
    "product to float, float bias": (summed, False),
    "product, float bias": (rounded(summed), True),
    "product, float bias, relu": (rounded(summed_relu), True),
    "product with itself": (squared, True),
}


@pytest.mark.parametrize("name", DENSE)
def test_so_are_dense_layers(name: str, tmp_path: Path) -> None:
    behind, expected = DENSE[name]
    net = Net()
    net.node("Reshape", [behind(net, net.pair("x", 1 / 255)), net.integers("to", -1)], "y")
    found = inspect_file(path := net.write(tmp_path / "m.int8.onnx", (2, 8)))
    assert (keeps_int8(found), is_of_integers(path)) == (expected, expected)
    assert [op.weights for op in found.layers()] == ["int8"]
    assert ("dense" in found.proven) == expected


@pytest.mark.parametrize(("behind", "images"), [(summed, "n"), (summed_relu, 2)])
def test_a_sum_behind_a_product_of_three_axes_is_float(behind, images, tmp_path: Path) -> None:
    net = Net()
    net.node("Identity", [rounded(behind)(net, net.pair("x", 1 / 255))], "y")
    found = inspect_file(path := net.write(tmp_path / "m.int8.onnx", (images, 3, 8)))
    assert not keeps_int8(found)
    assert not is_of_integers(path)


def test_quantized_concatenation_is_of_integers(tmp_path: Path) -> None:
    """Its first input is a scale, which is float32."""
    net = Net()
    steps = [net.floats("s"), net.constant("z", 0, np.uint8)]
    kernel = [net.constant("k", np.ones((4, 4, 1, 1)), np.int8), net.floats("ks")]
    kernel.append(net.constant("kz", 0, np.int8))
    net.node("QuantizeLinear", ["x", *steps], "q")
    net.node("QLinearConv", ["q", *steps, *kernel, *steps], "conv")
    inputs = [*steps, "conv", *steps, "conv", *steps]
    net.node("QLinearConcat", inputs, "both", domain="com.microsoft", axis=1)
    net.node("DequantizeLinear", ["both", *steps], "y")
    found = inspect_file(path := net.write(tmp_path / "m.int8.onnx", (1, 4, 4, 4)))
    assert keeps_int8(found)
    assert is_of_integers(path)


def test_sixteen_bits_without_a_zero_point_are_no_int8(tmp_path: Path) -> None:
    net = Net()
    step = net.floats("step")
    data = net.pair("x", 1 / 255)
    for name in ("a", "b"):
        net.conv(data, name)
        net.node("QuantizeLinear", [name, step], f"{name}_q", output_dtype=TensorProto.INT16)
        data = net.node("DequantizeLinear", [f"{name}_q", step], f"{name}_dq")
    net.node("Identity", [data], "y")
    found = inspect_file(path := net.write(tmp_path / "m.int8.onnx", (1, 4, 4, 4), 21))
    assert (found.true_scheme, found.proven) == ("w8a16", ())
    assert optimised_ops(path)["QLinearConv"] == 0


@pytest.mark.parametrize("kind", ["w8", "fp16"])
def test_products_of_activations_are_no_layers(kind: str, tmp_path: Path) -> None:
    """An attention of one head: one kernel, and two products without weights."""
    net = Net()
    if kind == "fp16":
        stored = net.constant("k16", np.ones((8, 8)), np.float16)
        net.node("Cast", [stored], "k", to=TensorProto.FLOAT)
    else:
        net.kernel("k", (8, 8), 1)
    net.node("MatMul", ["x", "k"], "rows")
    net.node("Transpose", ["rows"], "columns", perm=[0, 2, 1])
    net.node("Softmax", [net.node("MatMul", ["rows", "columns"], "likeness")], "shares", axis=-1)
    net.node("MatMul", ["shares", "rows"], "y")
    found = inspect_file(net.write(tmp_path / f"m.{kind}.onnx", (2, 3, 8)))
    check_promise(found, kind)
    assert [op.output for op in found.layers()] == ["rows"]


@pytest.mark.parametrize(("op", "axis"), [("MatMul", 1), ("Gemm", 1), ("Conv", 0)])
def test_kernels_of_integers_with_float_data_are_not_proven(op, axis, tmp_path: Path) -> None:
    """onnxruntime rounds the data of dense layers to int8 as it runs them."""
    net = Net()
    shape, image = ((64, 16), (1, 64)) if op != "Conv" else ((4, 4, 1, 1), (1, 4, 4, 4))
    net.node(op, ["x", net.kernel("k", shape, axis)], "y")
    found = inspect_file(path := net.write(tmp_path / "m.w8.onnx", image))
    check_promise(found, "w8")
    rounds = optimised_ops(path)["MatMulNBits"] == 1
    assert rounds == (op != "Conv")
    assert found.unproven == (("y",) if rounds else ())


def test_a_file_that_onnxruntime_saved_for_its_processor_is_read(tmp_path: Path) -> None:
    net = Net()
    kernel = net.floats("k", 16, 16, 1, 1)
    net.node("ReorderInput", ["x"], "blocks", domain="com.microsoft.nchwc")
    net.node("Conv", ["blocks", kernel], "conv", domain="com.microsoft.nchwc")
    net.node("ReorderOutput", ["conv"], "y", domain="com.microsoft.nchwc", channels=16)
    found = inspect_file(net.write(tmp_path / "m.onnx", (1, 16, 4, 4)))
    assert found.true_scheme == "fp32"


def test_other_floats_are_called_what_they_are(tmp_path: Path) -> None:
    net = Net()
    net.node("Conv", ["x", net.constant("k", np.ones((4, 4, 1, 1)), np.float64)], "y")
    found = inspect_file(net.write(tmp_path / "m.onnx", (1, 4, 4, 4)))
    assert found.true_scheme == "fp64"
    with pytest.raises(GateError, match="1 of 1 layer has float64 weights"):
        check_promise(found, "fp32")


def test_recurrent_layers_are_layers_and_a_file_may_have_none(tmp_path: Path) -> None:
    net = Net()
    weights = [net.floats("w", 1, 16, 8), net.floats("r", 1, 16, 4)]
    net.node("LSTM", ["x", *weights], "y", hidden_size=4)
    path = net.write(tmp_path / "m.onnx", (2, 1, 8))
    assert inspect_file(path).true_scheme == "fp32"
    bare = Net()
    bare.node("Relu", ["x"], "y")
    assert inspect_file(bare.write(path, (2, 8))).true_scheme == "no layer with weights"
