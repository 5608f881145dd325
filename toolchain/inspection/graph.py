"""Questions to an ONNX graph: where a value comes from, where it goes, what it is stored as."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from toolchain.inspection.kinds import INTEGERS

# Ops that move numbers and compute none; onnxruntime moves quantization through them.
LAYOUT: Final = frozenset(
    {"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "MaxPool", "Slice"}
)
# Ops that onnxruntime takes out of a graph where they change nothing, or makes part of the next.
VANISHING: Final = frozenset(
    {"Add", "Cast", "Concat", "Div", "Dropout", "Expand", "Mul", "Pad", "Sub"}
)
_ACTIVATIONS: Final = frozenset({"Relu", "Clip"})
_INTEGER_OPS: Final = ("QLinear", "QGemm")
_QUANTIZE: Final = "QuantizeLinear"
_DEQUANTIZE: Final = "DequantizeLinear"
# Longest chain that is followed; a damaged graph may have circles.
_STEPS: Final = 16


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
        known = [*graph.input, *graph.value_info, *graph.output]
        self._declared = {value.name: value.type.tensor_type.elem_type for value in known}
        for node in graph.node:
            for name in filter(None, node.output):
                if name in self._producers:
                    raise ValueError(f"two nodes write {name!r:.80}")
                self._producers[name] = node
            for name in node.input:
                self._consumers[name].append(node)

    def inputs(self) -> list[Any]:
        """The inputs a client gives; old files list their weights there as well."""
        return [value for value in self._graph.input if value.name not in self._stored]

    @staticmethod
    def dtype_name(number: int) -> str:
        """An ONNX element type as numpy calls it."""
        from onnx import TensorProto

        try:
            name: str = TensorProto.DataType.Name(number).lower()
        except ValueError:
            return f"unknown {number}"
        return {"float": "float32", "double": "float64"}.get(name, name)

    def dtype_into(self, node: Any, position: int, passed: frozenset[str] = LAYOUT) -> str:
        """Dtype of an op's data before its DequantizeLinear; ops between that are `passed` are
        not looked at.
        """
        if position >= len(node.input):
            return ""
        name = node.input[position]
        for _ in range(_STEPS):
            producer = self._producers.get(name)
            if producer is None:
                break
            if producer.op_type == _DEQUANTIZE and node.op_type != _QUANTIZE:
                return self._quantized_as(producer)
            if producer.op_type not in passed or not producer.input:
                break
            # The data of a layout op come first; of a sum with a constant it is the other.
            given = producer.input if producer.op_type in VANISHING else producer.input[:1]
            name = next((one for one in given if self._tensor(one) is None), producer.input[0])
        return self._dtype_of(name)

    def dtype_out_of(self, node: Any) -> str:
        """Dtype of an op's result after the QuantizeLinear that all its consumers are."""
        if not node.output:
            return ""
        name = node.output[0]
        for _ in range(_STEPS):
            consumers = self._consumers[name]
            if name in self._outputs or not consumers or node.op_type == _DEQUANTIZE:
                break
            if all(consumer.op_type == _QUANTIZE for consumer in consumers):
                return self._quantized_as(consumers[0])
            passed = len(consumers) == 1 and consumers[0].op_type in LAYOUT | _ACTIVATIONS
            if not passed or not consumers[0].output:
                break
            name = consumers[0].output[0]
        return self._dtype_of(name)

    def stored(self, node: Any, position: int) -> str:
        """Dtype an op's weights lie in the file in, behind casts, scales and layout ops."""
        name, tensor = self._source(node, position)
        if not name:
            return ""
        return self._dtype_of(name) if tensor is None else self.dtype_name(tensor.data_type)

    def parameters(self, node: Any, position: int) -> int | None:
        """How many weights those are; None where they do not lie in the file."""
        _, tensor = self._source(node, position)
        return None if tensor is None else math.prod(tensor.dims)

    def _source(self, node: Any, position: int) -> tuple[str, Any]:
        """The name of an op's weights as far up as they are the same, and their TensorProto."""
        name = node.input[position] if position < len(node.input) else ""
        for _ in range(_STEPS):
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
        if producer is not None and producer.op_type == _DEQUANTIZE and producer.input:
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
        return node.op_type in LAYOUT | {_DEQUANTIZE, _QUANTIZE, "Cast"}

    def ends_at(self, node: Any, edges: frozenset[str]) -> bool:
        """Whether everything after an op, up to the outputs, is layout or one of `edges`."""
        ahead = list(node.output)
        for _ in range(_STEPS):
            if not ahead:
                return True
            name = ahead.pop()
            for consumer in self._consumers[name]:
                if consumer.op_type not in edges | LAYOUT | {"Add"}:
                    return False
                ahead.extend(consumer.output)
        return False

    def is_fused_activation(self, node: Any) -> bool:
        """Whether an op is a Relu or Clip between a layer and its QuantizeLinear."""
        return node.op_type in _ACTIVATIONS and self.dtype_out_of(node) != "float32"

    def feeds_parameters(self, node: Any) -> bool:
        """Whether an op computes from constants alone; a runtime folds it before it runs."""
        return bool(node.input) and all(
            name in self._stored or self._is_constant(name) for name in node.input if name
        )

    def _is_constant(self, name: str) -> bool:
        producer = self._producers.get(name)
        return producer is not None and producer.op_type == "Constant"

    def _quantized_as(self, node: Any) -> str:
        """Dtype on the integer side of a QuantizeLinear or DequantizeLinear."""
        told = [*node.input[2:3], *(node.input[:1] if node.op_type == _DEQUANTIZE else ())]
        for tensor in map(self._tensor, told):
            if tensor is not None:
                return self.dtype_name(tensor.data_type)
        # ONNX: without a zero point the result of QuantizeLinear is uint8.
        return "uint8"

    def _dtype_of(self, name: str) -> str:
        for _ in range(_STEPS):
            if (tensor := self._tensor(name)) is not None:
                return self.dtype_name(tensor.data_type)
            producer = self._producers.get(name)
            if producer is not None and producer.op_type == _QUANTIZE:
                return self._quantized_as(producer)
            if producer is not None and producer.op_type == "DynamicQuantizeLinear":
                return "uint8" if name == producer.output[0] else "float32"
            if producer is not None and producer.op_type.startswith(_INTEGER_OPS):
                return self._zero_point_of(producer)
            if self._declared.get(name):
                return self.dtype_name(self._declared[name])
            if producer is None or producer.op_type not in LAYOUT or not producer.input:
                break
            name = producer.input[0]
        # Values between ops are rarely declared; in a graph of floats they are floats.
        return "float32"

    def _zero_point_of(self, node: Any) -> str:
        """Dtype of the last zero point among an integer op's inputs: that of its result."""
        for name in reversed(node.input):
            tensor = self._tensor(name)
            dtype = "" if tensor is None else self.dtype_name(tensor.data_type)
            if dtype in INTEGERS:
                return dtype
        return "uint8"
