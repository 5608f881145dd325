"""The tiny network as .tflite files, built through the FlatBuffer object API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from tiny_network import RANGES, SIZE, Weights, contract, quantize_rows, scale_of

from toolchain.contract import METADATA_KEY, Contract, TensorSpec

TYPES = {"float32": 0, "int32": 2, "uint8": 3, "int8": 9}
NAMES = {
    name: getattr(schema.BuiltinOperator, name)
    for name in (
        "CONV_2D",
        "MEAN",
        "FULLY_CONNECTED",
        "SOFTMAX",
        "QUANTIZE",
        "DEQUANTIZE",
        "RESHAPE",
        "EXP",
        "LOGISTIC",
        "BATCH_MATMUL",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
    )
}
VERSIONS = {"CONV_2D": 5, "MEAN": 2, "FULLY_CONNECTED": 4, "SOFTMAX": 2, "QUANTIZE": 2}


class Builder:
    """A ModelT in the making."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.model.metadata = []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]
        self._codes: dict[str, int] = {}

    def buffer(self, data: bytes) -> int:
        made = schema.BufferT()
        made.data = np.frombuffer(data, np.uint8)
        self.model.buffers.append(made)
        return len(self.model.buffers) - 1

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: str,
        scales: Any = None,
        zero_points: Any = None,
        value: Any = None,
    ) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type = name.encode(), list(shape), TYPES[dtype]
        made.buffer = 0 if value is None else self.buffer(np.asarray(value, dtype).tobytes())
        if scales is not None:
            quantization = schema.QuantizationParametersT()
            quantization.scale = np.atleast_1d(np.asarray(scales, np.float32))
            zeros = np.zeros(len(quantization.scale)) if zero_points is None else zero_points
            quantization.zeroPoint = np.atleast_1d(np.asarray(zeros, np.int64))
            made.quantization = quantization
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def activation(self, name: str, shape: tuple[int, ...], key: str | None) -> int:
        """float32, or int8 with the range `key`."""
        if key is None:
            return self.tensor(name, shape, "float32")
        scale, zero_point = scale_of(*RANGES[key])
        return self.tensor(name, shape, "int8", scale, zero_point - 128)

    def op(self, name: str, inputs: list[int], output: int, options: Any = None) -> int:
        if name not in self._codes:
            code = schema.OperatorCodeT()
            code.builtinCode = NAMES[name]
            code.deprecatedBuiltinCode = min(NAMES[name], 127)
            code.version = VERSIONS.get(name, 1)
            self._codes[name] = len(self.model.operatorCodes)
            self.model.operatorCodes.append(code)
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = self._codes[name], inputs, [output]
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            made.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            made.builtinOptions = options
        self.graph.operators.append(made)
        return output

    def pack(self, carried: Contract | None) -> bytes:
        if carried is not None:
            entry = schema.MetadataT()
            entry.name = METADATA_KEY.encode()
            entry.buffer = self.buffer(carried.dumps().encode())
            self.model.metadata.append(entry)
        packer = flatbuffers.Builder(4096)
        packer.Finish(self.model.Pack(packer), b"TFL3")
        return bytes(packer.Output())


def _layer_options() -> tuple[Any, Any, Any, Any]:
    conv, mean = schema.Conv2DOptionsT(), schema.ReducerOptionsT()
    conv.strideH = conv.strideW = conv.dilationHFactor = conv.dilationWFactor = 1
    conv.fusedActivationFunction = schema.ActivationFunctionType.RELU
    mean.keepDims = False
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    return conv, mean, schema.FullyConnectedOptionsT(), softmax


def _weights(build: Builder, name: str, rows: Any, shape: tuple[int, ...], int8: bool) -> int:
    if not int8:
        return build.tensor(name, shape, "float32", value=rows.reshape(shape))
    stored, scales = quantize_rows(rows)
    return build.tensor(name, shape, "int8", scales, value=stored.reshape(shape))


def _bias(build: Builder, name: str, values: Any, rows: Any, source: str | None) -> int:
    if source is None:
        return build.tensor(name, values.shape, "float32", value=values)
    scales = quantize_rows(rows)[1] * scale_of(*RANGES[source])[0]
    return build.tensor(name, values.shape, "int32", scales, value=np.round(values / scales))


def build_tflite(
    weights: str = "float32",
    activations: str = "float32",
    io: str = "float32",
    own: Weights | None = None,
) -> Builder:
    """The network with int8 or float32 `weights` and `activations`; `io` may be uint8."""
    w, build = own or Weights(), Builder()
    int8 = activations == "int8"
    key = {name: name if int8 else None for name in RANGES}
    conv, mean, dense, softmax = _layer_options()
    source = first = _source(build, io)
    if int8:
        first = build.activation("quantized", (1, SIZE, SIZE, 3), "input")
        build.op("QUANTIZE", [source], first)
    kernel = _weights(build, "kernel", w.kernel, (4, 1, 1, 3), weights == "int8")
    bias = _bias(build, "bias", w.bias, w.kernel, key["input"])
    maps = build.activation("maps", (1, SIZE, SIZE, 4), key["conv"])
    build.op("CONV_2D", [first, kernel, bias], maps, conv)
    pooled = build.activation("pooled", (1, 4), key["conv"])
    axes = build.tensor("axes", (2,), "int32", value=[1, 2])
    build.op("MEAN", [maps, axes], pooled, mean)
    matrix = _weights(build, "dense", w.dense.T, (3, 4), weights == "int8")
    dense_bias = _bias(build, "dense_bias", w.dense_bias, w.dense.T, key["conv"])
    logits = build.activation("logits", (1, 3), key["logits"])
    build.op("FULLY_CONNECTED", [pooled, matrix, dense_bias], logits, dense)
    output = _softmax(build, logits, softmax, int8, io)
    build.graph.inputs, build.graph.outputs = [source], [output]
    return build


def _source(build: Builder, io: str) -> int:
    if io == "uint8":
        return build.tensor("input", (1, SIZE, SIZE, 3), "uint8", *_UINT8_INPUT)
    return build.tensor("input", (1, SIZE, SIZE, 3), "float32")


def _softmax(build: Builder, logits: int, options: Any, int8: bool, io: str) -> int:
    if not int8:
        return build.op("SOFTMAX", [logits], build.tensor("output", (1, 3), "float32"), options)
    inner = build.tensor("probabilities", (1, 3), "int8", 1 / 256, -128)
    build.op("SOFTMAX", [logits], inner, options)
    if io == "uint8":
        outer = build.tensor("output", (1, 3), "uint8", *_UINT8_OUTPUT)
        return build.op("QUANTIZE", [inner], outer)
    return build.op("DEQUANTIZE", [inner], build.tensor("output", (1, 3), "float32"))


_UINT8_INPUT = (float(np.float32(2 / 255)), 128)
_UINT8_OUTPUT = (1 / 256, 0)


def uint8_contract() -> Contract:
    return contract(
        "tflite",
        "int8-qat",
        source=TensorSpec("input", (1, SIZE, SIZE, 3), "uint8", *_UINT8_INPUT),
        result=TensorSpec("output", (1, 3), "uint8", *_UINT8_OUTPUT),
    )


def write_tflite(path: Path, build: Builder, carried: Contract | None) -> Path:
    path.write_bytes(build.pack(carried))
    return path


def write_float_tflite(folder: Path, name: str = "tiny.fp32.tflite") -> Path:
    return write_tflite(folder / name, build_tflite(), contract("tflite"))


def write_int8_tflite(folder: Path, name: str = "tiny.int8-qat.tflite") -> Path:
    return write_tflite(folder / name, build_tflite("int8", "int8"), contract("tflite", "int8-qat"))
