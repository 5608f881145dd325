"""Graph -> ONNX, float or integer, written operation by operation.

The integer file is in QDQ form: uint8 activations, int8 kernels (a scale a channel for
convolutions), int32 biases, rounding exactly where quantization-aware training rounds. Measured
on x86-64, this is the form onnxruntime runs fastest (U8S8), see docs/architecture.md.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from toolchain import __version__
from toolchain.contract import METADATA_KEY, Contract, TensorSpec
from toolchain.quantization.graph import (
    IMAGE,
    KERNELS,
    MIN_MAGNITUDE,
    SAME_RANGE,
    WITH_WEIGHTS,
    Affine,
    Graph,
    Node,
    along,
    input_affine,
    scales_of,
    stored_kernel,
    stored_weights,
)
from toolchain.quantization.shapes import output_shapes, output_side
from toolchain.quantization.snap import bias_steps, stored_bias

# The oldest IR version that carries an operator set, so that older runtimes still load the file
# (ONNX docs/Versioning.md).
_IR_OF_OPSET: Final = ((17, 8), (18, 8), (20, 9), (21, 10))
_TYPES: Final = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}


def to_onnx(
    graph: Graph, ranges: dict[str, Affine] | None, contract: Contract, opset: int
) -> bytes:
    """The graph as an ONNX file that does what its contract says, and carries it.

    Args:
      graph: folded network.
      ranges: one a name of `range_points`; None writes a float file.
      contract: names, shapes and dtypes of input and output, the input's layout, and whether
        logits or probabilities come out; a float file stores its kernels as the precision says. A
        batch of -1 becomes the dynamic axis "N". A uint8 input
        takes raw RGB bytes: a float file normalises them with the arithmetic of `normalise`, in an
        integer file they are the stored image itself.
      opset: version of the standard operator set.
    """
    writer = _Writer(graph, ranges, contract)
    writer.write()
    drawn = helper.make_graph(
        writer.nodes,
        "classifier",
        [_declared(contract.input)],
        [_declared(contract.output)],
        writer.initializers,
    )
    ir_version = next(ir for last, ir in _IR_OF_OPSET if opset <= last)
    model = helper.make_model(
        drawn,
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=ir_version,
        producer_name="toolchain",
        producer_version=__version__,
    )
    helper.set_model_props(model, {METADATA_KEY: contract.dumps()})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _declared(spec: TensorSpec) -> Any:
    shape = ["N" if axis == -1 else axis for axis in spec.shape]
    return helper.make_tensor_value_info(spec.name, _TYPES[spec.dtype], shape)


class _Writer:
    """Collects the nodes and initializers of one file.

    `real` holds, for each output, the name of its float tensor; `stored` that of its uint8 tensor
    in an integer file.
    """

    def __init__(self, graph: Graph, ranges: dict[str, Affine] | None, contract: Contract) -> None:
        self.graph = graph
        self.contract = contract
        self.ranges = dict(ranges or {})
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.real: dict[str, str] = {}
        self.stored: dict[str, str] = {}
        self.shapes = output_shapes(graph)

    def write(self) -> None:
        self._image()
        for node in self.graph.nodes:
            self._write_node(node)
        last = "Softmax" if self.contract.output_kind == "probabilities" else "Identity"
        axis = {"axis": -1} if last == "Softmax" else {}
        logits = self.real[self.graph.nodes[-1].name]
        self._add(last, [logits], self.contract.output.name, **axis)
        self._drop_unread()

    def _drop_unread(self) -> None:
        """What works on stored bytes reads no real ones, and onnxruntime (1.31) would make them."""
        read = {self.contract.output.name}
        for node in reversed(self.nodes):
            if node.output[0] in read:
                read.update(node.input)
        self.nodes = [node for node in self.nodes if node.output[0] in read]
        self.initializers = [tensor for tensor in self.initializers if tensor.name in read]

    def _image(self) -> None:
        """The image in NCHW, after what the contract leaves to the graph."""
        tensor, way = self.contract.input.name, self.contract.preprocessing
        if self.contract.layout == "NHWC":
            self._add("Transpose", [tensor], f"{IMAGE}_nchw", perm=[0, 3, 1, 2])
            tensor = f"{IMAGE}_nchw"
        if self.contract.input.dtype == "float32":
            self._publish(IMAGE, tensor)
        elif self.ranges.get(IMAGE) == input_affine(way.mean, way.std):
            # Normalising and rounding would give back the byte that came in.
            self.stored[IMAGE] = tensor
            self._dequantize(IMAGE)
        else:
            self._publish(IMAGE, self._normalised(tensor))

    def _normalised(self, tensor: str) -> str:
        """(pixel - mean) / std of raw bytes, in the arithmetic of `normalise`."""
        way = self.contract.preprocessing
        mean = self._constant(f"{IMAGE}_mean", np.array(way.mean, np.float32))
        std = self._constant(f"{IMAGE}_std", np.array(way.std, np.float32))
        self._add("Cast", [tensor], f"{IMAGE}_float", to=TensorProto.FLOAT)
        self._add("Sub", [f"{IMAGE}_float", mean], f"{IMAGE}_centred")
        self._add("Div", [f"{IMAGE}_centred", std], f"{IMAGE}_normalised")
        return f"{IMAGE}_normalised"

    def _write_node(self, node: Node) -> None:
        if node.op in WITH_WEIGHTS:
            self._linear(node)
        elif node.op in ("relu", "relu6"):
            self._activation(node)
        elif node.op in SAME_RANGE:
            self._same_range(node)
        elif node.op == "add":
            self._add("Add", [self.real[name] for name in node.inputs], node.name)
            self._publish(node.name, node.name)
        elif node.op == "log_sigmoid":
            self._log_sigmoid(node)
        else:
            pooled = f"{node.name}_pooled"
            self._add("GlobalAveragePool", [self.real[node.inputs[0]]], pooled)
            self._publish(node.name, pooled, flatten=True)

    def _log_sigmoid(self, node: Node) -> None:
        """-log(1 + exp(-x)), by the operator that cannot overflow."""
        name, source = node.name, node.inputs[0]
        self._add("Neg", [self.real[source]], f"{name}_negative")
        self._add("Softplus", [f"{name}_negative"], f"{name}_softplus")
        self._add("Neg", [f"{name}_softplus"], f"{name}_raw")
        self._publish(name, f"{name}_raw")

    def _publish(self, name: str, tensor: str, flatten: bool = False) -> None:
        """Make a node's result known; where it has 8 bits of its own, round it."""
        point = self.ranges.get(name)
        if point is None:
            self.real[name] = self._flattened(tensor, name) if flatten else tensor
            return
        scale, zero = self._point(name, point)
        stored = f"{name}_u8" + ("_pooled" if flatten else "")
        self._add("QuantizeLinear", [tensor, scale, zero], stored)
        self.stored[name] = self._flattened(stored, f"{name}_u8") if flatten else stored
        self._dequantize(name)

    def _flattened(self, tensor: str, name: str) -> str:
        self._add("Flatten", [tensor], f"{name}_flat", axis=1)
        return f"{name}_flat"

    def _dequantize(self, name: str) -> None:
        scale, zero = self._point(name, self.ranges[name])
        self._add("DequantizeLinear", [self.stored[name], scale, zero], f"{name}_real")
        self.real[name] = f"{name}_real"

    def _point(self, name: str, point: Affine) -> tuple[str, str]:
        scale = self._constant(f"{name}_scale", np.array(point.scale, np.float32))
        return scale, self._constant(f"{name}_zero", np.array(point.zero_point, np.uint8))

    def _linear(self, node: Node) -> None:
        kernel = self.graph.arrays[f"{node.name}/kernel"]
        bias = self.graph.arrays[f"{node.name}/bias"]
        given = self.real[node.inputs[0]]
        if node.is_float and node.inputs[0] in self.stored:
            given, kernel = self._apart(node, given), -kernel
        inputs = [given, *self._weights(node, kernel, bias)]
        # The last layer is called "logits", and so is an output that holds them.
        is_taken = node.name == self.contract.output.name
        result = f"{node.name}_raw" if is_taken else node.name
        if node.op == "dense":
            self._add("Gemm", inputs, result, transB=1)
        else:
            self._add("Conv", inputs, result, **self._window(node, kernel))
        self._publish(node.name, result)

    def _apart(self, node: Node, given: str) -> str:
        """The negative of what a float layer reads, for a kernel that is negative too.

        The results are the same to the last bit. Between DequantizeLinear and QuantizeLinear
        themselves onnxruntime (1.31) quantizes a float kernel on its own, with scales that no
        training knew and all 8 bits of products that overflow (its WeightBiasQuantization).
        """
        self._add("Neg", [given], f"{node.name}_input")
        return f"{node.name}_input"

    def _arranged(self, node: Node, kernel: NDArray[Any]) -> NDArray[Any]:
        """TensorFlow's kernel in ONNX's order, output channels first."""
        if node.op == "conv":
            return kernel.transpose(3, 2, 0, 1)
        if node.op == "depthwise":
            return kernel.transpose(2, 3, 0, 1)
        return kernel.T

    def _weights(
        self,
        node: Node,
        kernel: NDArray[np.float32],
        bias: NDArray[np.float32],
    ) -> list[str]:
        bias_name = f"{node.name}_bias"
        if node.is_float or not self.ranges:
            weights = self._float_kernel(node, self._arranged(node, kernel))
            return [weights, self._constant(bias_name, bias)]
        rounded = self._arranged(node, stored_kernel(self.graph, self.ranges, node))
        whole = stored_bias(self.graph, self.ranges, node)
        scales = scales_of(self.graph, self.ranges, node)
        bias_scales = bias_steps(self.graph, self.ranges, node)
        if node.op == "dense":
            # One scale for all channels, see quantization.qat.SymmetricKernel.
            scales, bias_scales = scales[0], bias_scales[0]
        axis = {} if node.op == "dense" else {"axis": 0}
        return [
            self._constant_dequantized(f"{node.name}_weight", rounded, scales, axis),
            self._constant_dequantized(bias_name, whole, bias_scales, axis),
        ]

    def _float_kernel(self, node: Node, weights: NDArray[np.float32]) -> str:
        """A kernel of a file that computes in float32, stored as the precision says.

        Cast and Mul of constants are computed once, when onnxruntime loads the file, so such a
        file is as fast as fp32. DequantizeLinear it leaves for every run (2 times the time of
        fp32, MobileNetV2 at 160 on AVX2), and ConvInteger, which its own quantize_dynamic writes,
        took 11 times as long.
        """
        name = f"{node.name}_weight"
        kernels = KERNELS.get(self.contract.precision, "float32")
        if kernels == "float16":
            stored = self._constant(f"{name}_f16", weights.astype(np.float16))
            self._add("Cast", [stored], name, to=TensorProto.FLOAT)
            return name
        if kernels == "int8":
            largest = np.abs(weights).reshape(len(weights), -1).max(axis=1)
            scales = np.maximum(largest, MIN_MAGNITUDE) / np.float32(127)
            stored = self._constant(f"{name}_q", stored_weights(weights, scales, axis=0))
            column = along(scales, weights.ndim, axis=0)
            self._add("Cast", [stored], f"{name}_whole", to=TensorProto.FLOAT)
            self._add("Mul", [f"{name}_whole", self._constant(f"{name}_scale", column)], name)
            return name
        return self._constant(name, weights)

    def _constant_dequantized(
        self, name: str, stored: NDArray[Any], scales: Any, axis: dict[str, int]
    ) -> str:
        scales = np.asarray(scales, np.float32)
        inputs = [self._constant(f"{name}_q", stored), self._constant(f"{name}_scale", scales)]
        # One for all layers with as many scales: explicit, because onnxruntime (1.31) leaves a Gemm
        # in float whose kernel has none.
        zeros = np.zeros(scales.shape, stored.dtype)
        inputs.append(self._constant(f"zeros_{zeros.dtype}_{zeros.size}", zeros))
        self._add("DequantizeLinear", inputs, name, **axis)
        return name

    def _window(self, node: Node, kernel: NDArray[np.float32]) -> dict[str, Any]:
        height, width, channels = self.shapes[node.inputs[0]]
        top, bottom = _pads(height, kernel.shape[0], node)
        left, right = _pads(width, kernel.shape[1], node)
        return {
            "kernel_shape": list(kernel.shape[:2]),
            "strides": [node.stride, node.stride],
            "pads": [top, left, bottom, right],
            "group": channels if node.op == "depthwise" else 1,
        }

    def _activation(self, node: Node) -> None:
        name, source = node.name, node.inputs[0]
        point = self.ranges.get(name)
        if point is not None and point.zero_point == 0:
            # Rounding to uint8 from 0 on cuts below 0, and above the range's end: that is the
            # activation, so none is written and the convolution stays one integer operation.
            self._publish(name, self.real[source])
            return
        if node.op == "relu":
            self._add("Relu", [self.real[source]], name)
        else:
            low = self._constant("zero", np.array(0, np.float32))
            high = self._constant("six", np.array(6, np.float32))
            self._add("Clip", [self.real[source], low, high], name)
        self._publish(name, name)

    def _same_range(self, node: Node) -> None:
        """max_pool, max and flatten work on the stored bytes, nothing is rounded."""
        source = node.inputs[0]
        shape = self.shapes[source]
        is_stored = source in self.stored
        tensor = self.stored[source] if is_stored else self.real[source]
        output = f"{node.name}_u8" if is_stored else node.name
        if node.op == "max_pool":
            window = {"kernel_shape": [node.stride] * 2, "strides": [node.stride] * 2}
            self._add("MaxPool", [tensor], output, **window)
        elif node.op == "max":
            self._add("MaxPool", [tensor], f"{output}_pooled", kernel_shape=list(shape[:2]))
            self._add("Flatten", [f"{output}_pooled"], output, axis=1)
        else:
            # In TensorFlow's order, for which `weight_scales` scaled the kernel that reads it.
            self._add("Transpose", [tensor], f"{output}_nhwc", perm=[0, 2, 3, 1])
            self._add("Flatten", [f"{output}_nhwc"], output, axis=1)
        if is_stored:
            self.stored[node.name] = output
            self.ranges[node.name] = self.ranges[source]
            self._dequantize(node.name)
        else:
            self.real[node.name] = output

    def _add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        if all(tensor.name != name for tensor in self.initializers):
            # asarray keeps a scalar a scalar; ascontiguousarray would make it a vector of one.
            self.initializers.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name


def _pads(size: int, window: int, node: Node) -> tuple[int, int]:
    """What TensorFlow's "same" adds before and after (tf.nn documentation, "padding")."""
    if node.padding != "same":
        return 0, 0
    total = max((output_side(size, window, node) - 1) * node.stride + window - size, 0)
    return total // 2, total - total // 2
