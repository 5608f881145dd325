"""Edits of a TFLite flatbuffer that the converter cannot be asked for."""

from __future__ import annotations

from typing import Any, Final

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from toolchain.contract import TensorSpec

# Stands before each layer that is to stay float while a graph is converted, and is taken out again:
# an op that no network here has and that the converter leaves as it is, in float.
BARRIER: Final = schema.BuiltinOperator.SIN
_IDENTIFIER: Final = b"TFL3"
# The schema asks for it (`force_align: 16`), and kernels read float weights in place.
_ALIGNMENT: Final = 16


class _Builder(flatbuffers.Builder):
    """Aligns weights as the schema demands, and writes equal vectors of other kinds once.

    Python's builder aligns bytes to 1. The converter gives each channel of a kernel and of a bias a
    zero point of eight bytes, all 0: a fifth of a small network. That several tables point to one
    vector is how a FlatBuffer shares (https://flatbuffers.dev/internals).
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], Any] = {}

    def CreateNumpyVector(self, x: NDArray[Any]) -> Any:  # noqa: N802 - the library's name
        if x.dtype == np.uint8:
            return self._aligned(x)
        key = x.dtype.str, x.tobytes()
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]

    def _aligned(self, x: NDArray[np.uint8]) -> Any:
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
    """Name the input and output after the signature, and keep float what is to be float.

    With float output the converter computes an 8-bit softmax and dequantizes it: probabilities in
    steps of 1/256, with ties between classes. Dequantizing the logits first costs nothing. The
    `BARRIER`s before float layers have done their work and go.
    """
    model = _unpack(data)
    graph = model.subgraphs[0]
    _take_out_barriers(model, graph)
    _dequantize_before_softmax(model, graph)
    for tensors in (model.signatureDefs[0].inputs, model.signatureDefs[0].outputs):
        for entry in tensors:
            graph.tensors[entry.tensorIndex].name = entry.name
    return _pack(model)


def _take_out_barriers(model: Any, graph: Any) -> None:
    """Let what reads a barrier read what the barrier reads; neither it nor its code remains."""
    codes = [code.builtinCode for code in model.operatorCodes]
    if BARRIER not in codes:
        return
    gone = codes.index(BARRIER)
    barriers = [op for op in graph.operators if op.opcodeIndex == gone]
    source = {int(op.outputs[0]): int(op.inputs[0]) for op in barriers}
    graph.operators = [op for op in graph.operators if op.opcodeIndex != gone]
    # The tensors after a removed one move up.
    kept = [index for index in range(len(graph.tensors)) if index not in source]
    place = {index: at for at, index in enumerate(kept)} | {-1: -1}
    graph.tensors = [graph.tensors[index] for index in kept]

    def moved(indices: Any) -> list[int]:
        return [place[source.get(int(index), int(index))] for index in indices]

    for op in graph.operators:
        op.opcodeIndex -= op.opcodeIndex > gone
        op.inputs, op.outputs = moved(op.inputs), moved(op.outputs)
    graph.inputs, graph.outputs = moved(graph.inputs), moved(graph.outputs)
    for signature in model.signatureDefs:
        for entry in (*signature.inputs, *signature.outputs):
            (entry.tensorIndex,) = moved([entry.tensorIndex])
    del model.operatorCodes[gone]


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
