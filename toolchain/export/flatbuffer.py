"""Edits of a TFLite flatbuffer that the converter cannot be asked for."""

from __future__ import annotations

from typing import Any, Final

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from toolchain.contract import TensorSpec

_IDENTIFIER: Final = b"TFL3"
# The schema asks for it (`force_align: 16`), and kernels read float weights in place.
_ALIGNMENT: Final = 16


class _Builder(flatbuffers.Builder):
    """Aligns byte vectors, the weights, as the schema demands; Python's builder aligns to 1."""

    def CreateNumpyVector(self, x: NDArray[Any]) -> Any:  # noqa: N802 - the library's name
        if x.dtype != np.uint8:
            return super().CreateNumpyVector(x)
        self.StartVector(1, x.size, _ALIGNMENT)
        self.head = self.Head() - x.size
        self.Bytes[self.Head() : self.Head() + x.size] = x.tobytes()
        return self.EndVector()


def _unpack(data: bytes) -> Any:
    return schema.ModelT.InitFromPackedBuf(bytearray(data), 0)


def _pack(model: Any) -> bytes:
    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.data = np.asarray(buffer.data, dtype=np.uint8)
    builder = _Builder(1024 * 1024)
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def finish(data: bytes) -> bytes:
    """Name the input and output after the signature, and keep a float softmax where it can be.

    With float output the converter computes an 8-bit softmax and dequantizes it: probabilities in
    steps of 1/256, with ties between classes. Dequantizing the logits first costs nothing.
    """
    model = _unpack(data)
    graph = model.subgraphs[0]
    _dequantize_before_softmax(model, graph)
    for tensors in (model.signatureDefs[0].inputs, model.signatureDefs[0].outputs):
        for entry in tensors:
            graph.tensors[entry.tensorIndex].name = entry.name
    return _pack(model)


def _dequantize_before_softmax(model: Any, graph: Any) -> None:
    codes = [code.builtinCode for code in model.operatorCodes]
    if len(graph.operators) < 2:
        return
    softmax, dequantize = graph.operators[-2:]
    wanted = (schema.BuiltinOperator.SOFTMAX, schema.BuiltinOperator.DEQUANTIZE)
    if (codes[softmax.opcodeIndex], codes[dequantize.opcodeIndex]) != wanted:
        return
    middle = graph.tensors[softmax.outputs[0]]
    middle.name, middle.type = b"logits_real", schema.TensorType.FLOAT32
    middle.quantization = None
    dequantize.inputs, dequantize.outputs, softmax.inputs, softmax.outputs = (
        softmax.inputs,
        softmax.outputs,
        softmax.outputs,
        dequantize.outputs,
    )
    graph.operators[-2:] = [dequantize, softmax]


def tensor_specs(data: bytes) -> tuple[TensorSpec, TensorSpec]:
    """Input and output of a file with one of each."""
    graph = _unpack(data).subgraphs[0]
    return _spec(graph.tensors[graph.inputs[0]]), _spec(graph.tensors[graph.outputs[0]])


def _spec(tensor: Any) -> TensorSpec:
    name, shape = tensor.name.decode(), tuple(int(axis) for axis in tensor.shape)
    if tensor.type == schema.TensorType.FLOAT32:
        return TensorSpec(name, shape, "float32")
    quantization = tensor.quantization
    scale, zero = float(quantization.scale[0]), int(quantization.zeroPoint[0])
    return TensorSpec(name, shape, "uint8", scale, zero)


def embed(data: bytes, buffers: dict[str, bytes]) -> bytes:
    """The file with metadata buffers, by name; what lies behind the FlatBuffer is lost."""
    model = _unpack(data)
    entries = list(model.metadata or [])
    for name, content in buffers.items():
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(content, dtype=np.uint8)
        model.buffers.append(buffer)
        entry.name, entry.buffer = name, len(model.buffers) - 1
        entries.append(entry)
    model.metadata = entries
    return _pack(model)
