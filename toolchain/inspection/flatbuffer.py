"""The FlatBuffer of a .tflite file as plain values, with a bound on every count it gives.

Offsets and counts lie in the file as 32-bit numbers that nobody checked: many tables may point to
one place, and a count may be larger than the file. Every item read is paid from one budget.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from toolchain.contract import TensorSpec

# A real classifier has hundreds of ops and tensors; two million items take about five seconds.
MAX_TOTAL: Final = 2_000_000
MAX_AXES: Final = 16
MAX_NAME: Final = 4096
# What reading a damaged FlatBuffer raises.
DAMAGE: Final = (
    struct.error,
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    AttributeError,
)
_NAME_SLOT: Final = 10
_CUSTOM_CODE_SLOT: Final = 6


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor and whether its values lie in the file."""

    spec: TensorSpec
    constant: bool


@dataclass(frozen=True, slots=True)
class Op:
    """An operator: its name and the positions of its tensors, -1 for one that is left out."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """A subgraph."""

    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_graphs(data: bytes) -> list[Graph]:
    """All subgraphs of a .tflite file; the first is the one a client runs.

    Raises:
      One of `DAMAGE`: the bytes are not a sound FlatBuffer.
    """
    from ai_edge_litert import schema_py_generated as schema

    if data[4:8] != b"TFL3":
        raise ValueError("not a TensorFlow Lite file")
    return _Reader(schema).graphs(schema.Model.GetRootAs(data, 0))


class _Reader:
    def __init__(self, schema: Any) -> None:
        self._left = MAX_TOTAL
        self._dtypes = {number: name.lower() for name, number in vars(schema.TensorType).items()}
        self._builtin = {number: name for name, number in vars(schema.BuiltinOperator).items()}
        self._codes: list[str] = []
        self._filled: list[bool] = []

    def graphs(self, model: Any) -> list[Graph]:
        self._codes = self._each(model.OperatorCodesLength(), model.OperatorCodes, self._code)
        self._filled = self._each(model.BuffersLength(), model.Buffers, _is_filled)
        found = self._each(model.SubgraphsLength(), model.Subgraphs, self._graph)
        if not found:
            raise ValueError("no graph")
        return found

    def _graph(self, graph: Any) -> Graph:
        tensors = self._each(graph.TensorsLength(), graph.Tensors, self._tensor)
        count = len(tensors)

        def read_op(op: Any) -> Op:
            inputs = self._indices(op.InputsLength(), op.Inputs, count)
            outputs = self._indices(op.OutputsLength(), op.Outputs, count)
            return Op(self._codes[op.OpcodeIndex()], inputs, outputs)

        ops = self._each(graph.OperatorsLength(), graph.Operators, read_op)
        return Graph(
            tuple(tensors),
            tuple(ops),
            self._indices(graph.InputsLength(), graph.Inputs, count),
            self._indices(graph.OutputsLength(), graph.Outputs, count),
        )

    def _tensor(self, tensor: Any) -> Tensor:
        axes, read = tensor.ShapeSignatureLength(), tensor.ShapeSignature
        if axes == 0:
            axes, read = tensor.ShapeLength(), tensor.Shape
        shape = tuple(int(axis) for axis in self._each(axes, read, int, limit=MAX_AXES))
        scale, zero_point = _scale(tensor.Quantization())
        dtype = self._dtypes[tensor.Type()]
        spec = TensorSpec(self._text(tensor, _NAME_SLOT), shape, dtype, scale, zero_point)
        return Tensor(spec, self._filled[tensor.Buffer()])

    def _code(self, code: Any) -> str:
        # Files up to schema version 3 have the op in one signed byte; later ones in both fields.
        name = self._builtin[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        return f"CUSTOM {self._text(code, _CUSTOM_CODE_SLOT)}" if name == "CUSTOM" else name

    def _each(
        self,
        count: int,
        read: Callable[[int], Any],
        make: Callable[[Any], Any],
        limit: int = MAX_TOTAL,
    ) -> list[Any]:
        self._pay(count, limit)
        return [make(read(position)) for position in range(count)]

    def _indices(self, count: int, read: Callable[[int], Any], tensors: int) -> tuple[int, ...]:
        found = tuple(self._each(count, read, int))
        if not all(-1 <= index < tensors for index in found):
            raise ValueError("an op names a tensor that is not there")
        return found

    def _text(self, table: Any, slot: int) -> str:
        """A string field, its length looked at before it is copied."""
        inner = table._tab
        offset = inner.Offset(slot)
        if not offset:
            return ""
        length = inner.VectorLen(offset)
        # Sixteen characters cost about as much as one item.
        self._pay(length // 16, MAX_NAME // 16)
        start = inner.Vector(offset)
        return bytes(inner.Bytes[start : start + length]).decode(errors="replace")

    def _pay(self, count: int, limit: int) -> None:
        self._left -= count
        if count > limit or self._left < 0:
            raise ValueError(f"more items than a model has ({count:,})")


def _scale(quantization: Any) -> tuple[float | None, int | None]:
    # More than one scale is a constant quantized per channel; the tensors of a client have one.
    if quantization is None or quantization.ScaleLength() != 1:
        return None, None
    zero_point = quantization.ZeroPoint(0) if quantization.ZeroPointLength() == 1 else 0
    return float(quantization.Scale(0)), int(zero_point)


def _is_filled(buffer: Any) -> bool:
    # Offset says where files above 2 GB keep a buffer, behind the FlatBuffer; 0 and 1 mean none.
    return bool(buffer.DataLength() > 0 or buffer.Offset() > 1)
