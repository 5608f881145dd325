"""Questions to an ONNX graph: where a value comes from, where it goes, what it is stored as."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from toolchain.inspection.kinds import INTEGERS

# Ops that move numbers and compute none.
LAYOUT: Final = frozenset(
    {"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "MaxPool", "Slice"}
)
# onnxruntime's own integer ops.
INTEGER_OPS: Final = ("QLinear", "QGemm")
# Results of the ops whose inputs say nothing of them.
_RESULTS: Final = {"Shape": "int64", "Size": "int64", "NonZero": "int64", "ArgMax": "int64"}
# The result has the dtype of the first input: what shapes are computed with.
_SAME_DTYPE: Final = LAYOUT | {"Gather", "Concat", "Add", "Sub", "Mul", "Div", "Expand", "Tile"}
_SAME_RANK: Final = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "Relu", "Clip", "MatMul", "Add", "Identity", "Dropout"}
)
_MATRICES: Final = frozenset({"Flatten", "Gemm"})
QUANTIZE: Final = "QuantizeLinear"
DEQUANTIZE: Final = "DequantizeLinear"
DENSE: Final = frozenset({"Gemm", "MatMul"})
# Most values of a tensor that is looked into to understand an op.
_SMALL: Final = 64
# Longest chain that is followed; a damaged graph may have circles.
STEPS: Final = 16


def attribute(node: Any, name: str, default: Any) -> Any:
    """The value of an attribute: a number or bytes."""
    from onnx import helper

    found = (one for one in node.attribute if one.name == name)
    return next(map(helper.get_attribute_value, found), default)


class OnnxGraph:
    """An ONNX GraphProto with its producers and consumers found once.

    Raises:
      ValueError: two nodes write one value, which ONNX forbids and which would let the questions
        below walk the same consumers again and again.
    """

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._stored = {tensor.name: tensor for tensor in graph.initializer}
        self._producers: dict[str, Any] = {}
        self._consumers: defaultdict[str, list[Any]] = defaultdict(list)
        self._outputs = {value.name for value in graph.output}
        known = {
            v.name: v.type.tensor_type for v in (*graph.input, *graph.value_info, *graph.output)
        }
        self._declared = {name: tensor.elem_type for name, tensor in known.items()}
        self._ranks = {
            name: len(tensor.shape.dim)
            for name, tensor in known.items()
            if tensor.HasField("shape")
        }
        for node in graph.node:
            for name in filter(None, node.output):
                if name in self._producers:
                    raise ValueError(f"two nodes write {name!r:.80}")
                self._producers[name] = node
            for name in node.input:
                self._consumers[name].append(node)
        self._depending = self._reached([value.name for value in self.inputs()])

    def inputs(self) -> list[Any]:
        """The inputs a client gives; old files list their weights there as well."""
        return [value for value in self._graph.input if value.name not in self._stored]

    def _reached(self, names: list[str]) -> set[str]:
        """These values and all that are computed from them."""
        reached, ahead = set(names), list(names)
        while ahead:
            found = {one for node in self._consumers[ahead.pop()] for one in node.output if one}
            ahead.extend(found - reached)
            reached |= found
        return reached

    @staticmethod
    def dtype_name(number: int) -> str:
        """An ONNX element type as numpy calls it."""
        from onnx import TensorProto

        try:
            name: str = TensorProto.DataType.Name(number).lower()
        except ValueError:
            return f"unknown {number}"
        return {"float": "float32", "double": "float64"}.get(name, name)

    def producer(self, name: str) -> Any:
        """The node that writes a value, or None."""
        return self._producers.get(name)

    def readers(self, name: str) -> list[Any]:
        """The nodes that read a value, once for each time they do."""
        return self._consumers[name]

    def is_output(self, name: str) -> bool:
        """Whether a client gets this value."""
        return name in self._outputs

    def is_constant(self, name: str) -> bool:
        """Whether a value is the same whatever the image is; a runtime computes it once."""
        return name not in self._depending

    def rank(self, name: str) -> int | None:
        """How many axes a value has, where the file says so here or further up."""
        for _ in range(STEPS):
            if name in self._ranks:
                return self._ranks[name]
            producer = self._producers.get(name)
            if producer is None or producer.op_type not in _SAME_RANK or not producer.input:
                return 2 if producer is not None and producer.op_type in _MATRICES else None
            name = producer.input[0]
        return None

    def stored(self, node: Any, position: int) -> str:
        """Dtype an op's weights lie in the file in, behind casts, scales and layout ops."""
        name, tensor = self._source(node, position)
        if not name:
            return ""
        return self.dtype_of(name) if tensor is None else self.dtype_name(tensor.data_type)

    def parameters(self, node: Any, position: int) -> int | None:
        """How many weights those are; None where they do not lie in the file."""
        _, tensor = self._source(node, position)
        return None if tensor is None else math.prod(tensor.dims)

    def _source(self, node: Any, position: int) -> tuple[str, Any]:
        """The name of an op's weights as far up as they are the same, and their TensorProto."""
        name = node.input[position] if position < len(node.input) else ""
        for _ in range(STEPS):
            if (tensor := self._tensor(name)) is not None:
                return name, tensor
            producer = self._producers.get(name)
            if producer is None or not producer.input or not self._passes_weights(producer):
                break
            name = producer.input[0]
        return name, None

    def constant_name(self, node: Any, position: int) -> str:
        """The tensor that an op's weights lie in, behind one DequantizeLinear at most."""
        if position >= len(node.input):
            return ""
        name: str = node.input[position]
        producer = self._producers.get(name)
        if producer is not None and producer.op_type == DEQUANTIZE and producer.input:
            name = producer.input[0]
        return name

    def int8(self, name: str) -> NDArray[np.int8] | None:
        """The values of an int8 tensor that lies in the file; None where it does not.

        Raises:
          ValueError: it is damaged.
        """
        from onnx import TensorProto, numpy_helper

        tensor = self._tensor(name)
        if tensor is None or tensor.data_type != TensorProto.INT8:
            return None
        values: NDArray[np.int8] = numpy_helper.to_array(tensor)
        return values

    def numbers(self, name: str) -> NDArray[Any] | None:
        """The values of a small tensor that lies in the file; None where it does not.

        Raises:
          ValueError: it is damaged.
        """
        from onnx import numpy_helper

        tensor = self._tensor(name)
        if tensor is None or math.prod(tensor.dims) > _SMALL:
            return None
        values: NDArray[Any] = numpy_helper.to_array(tensor).reshape(-1)
        return values

    def scalar(self, name: str) -> float | None:
        """The value of a tensor of one number that lies in the file; None where it does not."""
        values = self.numbers(name)
        return float(values[0]) if values is not None and len(values) == 1 else None

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor that lies in the file; () where it does not."""
        tensor = self._tensor(name)
        return () if tensor is None else tuple(tensor.dims)

    def _tensor(self, name: str) -> Any:
        """The TensorProto of this name: an initializer, or the value of a Constant; or None."""
        if name in self._stored:
            return self._stored[name]
        producer = self._producers.get(name)
        if producer is None or producer.op_type != "Constant":
            return None
        values = (one.t for one in producer.attribute if one.name == "value")
        return next(values, None)

    def _passes_weights(self, node: Any) -> bool:
        """Whether the same weights come out, stored another way: moved, cast, or times a scale."""
        if node.op_type == "Mul":
            return all(self._tensor(name) is not None for name in node.input[1:])
        return node.op_type in LAYOUT | {DEQUANTIZE, QUANTIZE, "Cast"}

    def ends_at(self, node: Any, edges: frozenset[str]) -> bool:
        """Whether everything after an op, up to the outputs, is layout or one of `edges`."""
        ahead = list(node.output)
        for _ in range(STEPS):
            if not ahead:
                return True
            name = ahead.pop()
            for consumer in self._consumers[name]:
                if consumer.op_type not in edges | LAYOUT:
                    return False
                ahead.extend(consumer.output)
        return False

    def feeds_parameters(self, node: Any) -> bool:
        """Whether an op computes from constants alone; a runtime folds it before it runs."""
        return bool(node.input) and all(map(self.is_constant, node.output))

    def quantized_as(self, node: Any) -> str:
        """Dtype on the integer side of a QuantizeLinear or DequantizeLinear."""
        told = [*node.input[2:3], *(node.input[:1] if node.op_type == DEQUANTIZE else ())]
        for tensor in map(self._tensor, told):
            if tensor is not None:
                return self.dtype_name(tensor.data_type)
        if number := attribute(node, "output_dtype", 0):
            return self.dtype_name(number)
        if node.op_type == DEQUANTIZE and node.input:
            dtype = self.dtype_of(node.input[0])
            return dtype if dtype in INTEGERS else "uint8"
        # ONNX: without a zero point the result of QuantizeLinear is uint8.
        return "uint8"

    def dtype_of(self, name: str) -> str:
        """Dtype of a value as it is stored or computed."""
        for _ in range(STEPS):
            if (tensor := self._tensor(name)) is not None:
                return self.dtype_name(tensor.data_type)
            producer = self._producers.get(name)
            if producer is not None and (dtype := self._result_of(producer, name)):
                return dtype
            if self._declared.get(name):
                return self.dtype_name(self._declared[name])
            if producer is None or producer.op_type not in _SAME_DTYPE or not producer.input:
                break
            name = producer.input[0]
        # Values between ops are rarely declared; in a graph of floats they are floats.
        return "float32"

    def _result_of(self, node: Any, name: str) -> str:
        """Dtype of a result that an op's type says, "" where it does not."""
        if node.op_type == QUANTIZE:
            return self.quantized_as(node)
        if node.op_type == "DynamicQuantizeLinear":
            return "uint8" if name == node.output[0] else "float32"
        if node.op_type.startswith(INTEGER_OPS):
            return self._zero_point_of(node)
        if node.op_type == "Cast":
            return self.dtype_name(attribute(node, "to", 1))
        return _RESULTS.get(node.op_type, "")

    def _zero_point_of(self, node: Any) -> str:
        """Dtype of the last zero point among an integer op's inputs: that of its result."""
        for name in reversed(node.input):
            tensor = self._tensor(name)
            dtype = "" if tensor is None else self.dtype_name(tensor.data_type)
            if dtype in INTEGERS:
                return dtype
        return "uint8"
