"""One quantized network, the forms in which onnxruntime takes it: types, bits, QDQ or QOperator.

`to_onnx` writes the first, uint8 activations and int8 kernels in QDQ form. The others are that
file rewritten: the same real values to a rounding of the kernels, at another speed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from toolchain.recipe.sections import ONNX_FORMS

_SHIFT: Final = 128
_UINT8: Final = onnx.TensorProto.UINT8


def rewritten(data: bytes, form: str) -> bytes:
    """An int8 file that `to_onnx` wrote, in another of `ONNX_FORMS`; its contract stays inside.

    - "qdq-u8s8": as it is.
    - "qdq-s8s8": int8 activations.
    - "qdq-u8u8": uint8 kernels.
    - "qdq-u8s7": kernels in -64..64, half of their bits, as `reduce_range` gives elsewhere.
    - "qoperator-u8s8": the integer operators of onnxruntime, which it would find when it loads the
      QDQ form; those that ONNX has not itself are of its domain com.microsoft.

    Raises:
      ValueError: the form is none of these.
    """
    if form not in ONNX_FORMS:
        raise ValueError(f"expected one of {', '.join(ONNX_FORMS)}, received {form!r}")
    if form == ONNX_FORMS[0]:
        return data
    if form == "qoperator-u8s8":
        return _fused(data)
    model = onnx.ModelProto.FromString(data)
    _REWRITES[form](model)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _signed_activations(model: Any) -> None:
    for tensor, value in _constants(model, np.uint8):
        _store(tensor, (value.astype(np.int16) - _SHIFT).astype(np.int8))
    _round_pixels(model.graph)


def _round_pixels(graph: Any) -> None:
    """An input of raw bytes stays uint8; what it means is stored as int8 right after it."""
    pixels = {one.name for one in graph.input if one.type.tensor_type.elem_type == _UINT8}
    for place, node in enumerate(list(graph.node)):
        if node.input[0] not in pixels:
            continue
        if node.op_type != "DequantizeLinear":
            pixels.update(node.output)
            continue
        name, (scale, zero) = node.output[0], node.input[1:]
        byte_zero, real, stored = f"{zero}_u8", f"{name}_pixels", f"{name}_s8"
        offset = next(one for one in graph.initializer if one.name == zero)
        shifted = numpy_helper.to_array(offset).astype(np.int16) + _SHIFT
        graph.initializer.append(numpy_helper.from_array(shifted.astype(np.uint8), byte_zero))
        node.input[2], node.output[0], node.name = byte_zero, real, real
        # Inserted the last first, so that the first stands first.
        for op, inputs, output in (
            ("DequantizeLinear", [stored, scale, zero], name),
            ("QuantizeLinear", [real, scale, zero], stored),
        ):
            made = onnx.helper.make_node(op, inputs, [output], name=output)
            graph.node.insert(place + 1, made)


def _unsigned_kernels(model: Any) -> None:
    for tensor, value in _constants(model, np.int8):
        _store(tensor, (value.astype(np.int16) + _SHIFT).astype(np.uint8))


def _halved_kernels(model: Any) -> None:
    """Kernels and biases count in steps twice as large; zero points are 0 and stay so."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in tensors:
            stored, scale = (tensors[name] for name in node.input[:2])
            value = numpy_helper.to_array(stored)
            _store(stored, np.round(value / 2).astype(value.dtype))
            _store(scale, numpy_helper.to_array(scale) * np.float32(2))


_REWRITES: Final[dict[str, Callable[[Any], None]]] = {
    "qdq-s8s8": _signed_activations,
    "qdq-u8u8": _unsigned_kernels,
    "qdq-u8s7": _halved_kernels,
}


def _fused(data: bytes) -> bytes:
    """What onnxruntime's graph optimisations make of it, those that any processor can run."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fused.onnx"
        options.optimized_model_filepath = str(path)
        # Float layers keep their names and ops: each runtime fuses their activations as it can.
        ort.InferenceSession(
            data,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["ConvActivationFusion", "GemmActivationFusion"],
        )
        fused = onnx.ModelProto.FromString(path.read_bytes())
    written = onnx.ModelProto.FromString(data)
    del fused.metadata_props[:]
    fused.metadata_props.extend(written.metadata_props)
    return bytes(fused.SerializeToString())


def _constants(model: Any, dtype: type) -> Iterator[tuple[Any, NDArray[Any]]]:
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype == dtype:
            yield tensor, value


def _store(tensor: Any, value: NDArray[Any]) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(value, order="C"), tensor.name))
