"""The tiny network as .onnx files: float32, QDQ int8, weights only in int8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tiny_network import CLASSES, RANGES, SIZE, Weights, contract, quantize_rows, scale_of

from toolchain.contract import METADATA_KEY, Contract


class Builder:
    """Nodes and initializers in the making."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def constant(self, name: str, value: Any, dtype: Any) -> str:
        self.initializers.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def through_uint8(self, value: str, key: str) -> str:
        """QuantizeLinear and DequantizeLinear with the range `key`."""
        scale, zero_point = scale_of(*RANGES[key])
        pair = [
            self.constant(f"{value}_scale", scale, np.float32),
            self.constant(f"{value}_zero", zero_point, np.uint8),
        ]
        self.node("QuantizeLinear", [value, *pair], f"{value}_q")
        return self.node("DequantizeLinear", [f"{value}_q", *pair], f"{value}_dq")

    def int8_weights(self, name: str, rows: Any, transpose: bool, shape: tuple[int, ...]) -> str:
        stored, scales = quantize_rows(rows)
        stored = stored.T if transpose else stored
        axis = 1 if transpose else 0
        inputs = [
            self.constant(f"{name}_i8", stored.reshape(shape), np.int8),
            self.constant(f"{name}_scale", scales, np.float32),
            self.constant(f"{name}_zero", np.zeros(len(scales)), np.int8),
        ]
        return self.node("DequantizeLinear", inputs, name, axis=axis)


def float_nodes(weights: Weights | None = None, *, softmax: bool = True) -> Builder:
    w, build = weights or Weights(), Builder()
    kernel = build.constant("kernel", w.kernel.reshape(4, 3, 1, 1), np.float32)
    bias = build.constant("bias", w.bias, np.float32)
    dense = build.constant("dense", w.dense, np.float32)
    dense_bias = build.constant("dense_bias", w.dense_bias, np.float32)
    build.node("Transpose", ["input"], "nchw", perm=[0, 3, 1, 2])
    build.node("Conv", ["nchw", kernel, bias], "conv")
    build.node("Relu", ["conv"], "relu")
    build.node("GlobalAveragePool", ["relu"], "pool")
    build.node("Flatten", ["pool"], "mean")
    build.node("Gemm", ["mean", dense, dense_bias], "logits" if softmax else "output")
    if softmax:
        build.node("Softmax", ["logits"], "output", axis=-1)
    return build


def int8_nodes(weights: Weights | None = None) -> Builder:
    """QDQ with uint8 activations and int8 weights per channel."""
    w, build = weights or Weights(), Builder()
    source = build.through_uint8("input", "input")
    build.node("Transpose", [source], "nchw", perm=[0, 3, 1, 2])
    data = build.through_uint8("nchw", "input")
    kernel = build.int8_weights("kernel", w.kernel, False, (4, 3, 1, 1))
    build.node("Conv", [data, kernel, build.constant("bias", w.bias, np.float32)], "conv")
    build.node("Relu", ["conv"], "relu")
    build.node("GlobalAveragePool", [build.through_uint8("relu", "conv")], "pool")
    build.node("Flatten", [build.through_uint8("pool", "mean")], "mean")
    dense = build.int8_weights("dense", w.dense.T, True, (4, 3))
    dense_bias = build.constant("dense_bias", w.dense_bias, np.float32)
    build.node("Gemm", [build.through_uint8("mean", "mean"), dense, dense_bias], "logits")
    build.node("Softmax", [build.through_uint8("logits", "logits")], "output", axis=-1)
    return build


def weight_only_nodes() -> Builder:
    """int8 weights, float activations: what a dynamic-range file is."""
    w, build = Weights(), float_nodes()
    build.initializers = [one for one in build.initializers if one.name not in {"kernel", "dense"}]
    for_weights = Builder()
    for_weights.int8_weights("kernel", w.kernel, False, (4, 3, 1, 1))
    for_weights.int8_weights("dense", w.dense.T, True, (4, 3))
    build.nodes = for_weights.nodes + build.nodes
    build.initializers += for_weights.initializers
    return build


def write_onnx(path: Path, build: Builder, carried: Contract | None, **changes: Any) -> Path:
    """Write a file; `carried` is the contract that goes into it."""
    shape = ["n", SIZE, SIZE, 3]
    graph = helper.make_graph(
        build.nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", len(CLASSES)])],
        build.initializers,
    )
    domains = [helper.make_opsetid("", 17), *changes.get("domains", [])]
    model = helper.make_model(graph, opset_imports=domains, ir_version=8)
    if carried is not None:
        helper.set_model_props(model, {METADATA_KEY: carried.dumps()})
    path.write_bytes(model.SerializeToString())
    return path


def write_float_onnx(folder: Path, name: str = "tiny.fp32.onnx") -> Path:
    return write_onnx(folder / name, float_nodes(), contract())


def write_int8_onnx(folder: Path, name: str = "tiny.int8-qat.onnx") -> Path:
    return write_onnx(folder / name, int8_nodes(), contract(precision="int8-qat"))


def load_onnx(path: Path) -> Any:
    return onnx.load(str(path))
