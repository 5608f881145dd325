"""Simulated 8-bit arithmetic on the folded graph, with tensorflow-model-optimization's wrappers.

tfmot's own scheme starts every activation range at +-6 and moves it with decay 0.999, which
wrecks a short fine-tune, and quantizes depthwise kernels per tensor. Here ranges come from
calibration and stay, and every convolution is quantized per channel.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras import quantize_wrapper

from toolchain.quantization.fold import Wrap, to_keras
from toolchain.quantization.graph import (
    IMAGE,
    MIN_MAGNITUDE,
    OFF_TIES,
    Affine,
    Graph,
    Node,
    input_range,
    largest_for_bias,
)
from toolchain.training.weights import Arrays

_keras: Any = tfmot.quantization.keras
_Quantizer: Any = _keras.quantizers.Quantizer
_QuantizeConfig: Any = _keras.QuantizeConfig
_QuantizeWrapper: Any = quantize_wrapper.QuantizeWrapperV2
# The attribute that holds the kernel of a Keras layer, by the graph's name of the operation.
_ATTRIBUTES = {"conv": "kernel", "dense": "kernel", "depthwise": "depthwise_kernel"}


class FixedRange(_Quantizer):
    """8 bits over a calibrated range; gradients pass inside it."""

    def __init__(self, low: float, high: float) -> None:
        self.low = low
        self.high = high

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """No variables: the range is fixed."""
        return {}

    def __call__(self, inputs: Any, training: Any, weights: Any, **kwargs: Any) -> Any:
        """Round to one of 256 values."""
        return tf.quantization.fake_quant_with_min_max_args(
            inputs, min=self.low, max=self.high, num_bits=8
        )

    def get_config(self) -> dict[str, float]:
        """The arguments; tfmot asks every quantizer for them."""
        return {"low": self.low, "high": self.high}


class SymmetricKernel(_Quantizer):
    """Symmetric 8 bits in -127..127; the scale follows the kernel, gradients pass through.

    Scales are those of `graph.weight_scales`: one an output channel for convolutions. A depthwise
    kernel [h, w, c, 1] has its channels on the third axis while the operation quantizes the last:
    it is reshaped to [h, w, 1, c] and back, which the converter folds away. A dense kernel has one
    scale: the converter refuses the transposition of a per-channel one.
    """

    def __init__(self, kind: str, bias: Any, input_scale: float) -> None:
        self.kind = kind
        self.bias = bias
        self.input_scale = input_scale

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """No variables."""
        return {}

    def __call__(self, inputs: Any, training: Any, weights: Any, **kwargs: Any) -> Any:
        """Round to one of 255 values a scale."""
        shape = inputs.shape
        if self.kind == "depthwise":
            inputs = tf.reshape(inputs, (shape[0], shape[1], 1, shape[2]))
            largest = tf.reduce_max(tf.abs(inputs), axis=[0, 1, 2])
        else:
            largest = _largest_pairs(inputs)
        least = tf.maximum(tf.abs(self.bias) * largest_for_bias(self.input_scale), MIN_MAGNITUDE)
        largest = tf.stop_gradient(tf.maximum(largest * OFF_TIES, least))
        if self.kind == "dense":
            largest = tf.reduce_max(largest)
        fake_quant = (
            tf.quantization.fake_quant_with_min_max_vars
            if self.kind == "dense"
            else tf.quantization.fake_quant_with_min_max_vars_per_channel
        )
        rounded = fake_quant(inputs, -largest, largest, num_bits=8, narrow_range=True)
        return tf.reshape(rounded, shape)

    def get_config(self) -> dict[str, Any]:
        """The arguments but the layer's own bias; tfmot asks every quantizer for them."""
        return {"kind": self.kind, "input_scale": self.input_scale}


def _largest_pairs(kernel: Any) -> Any:
    """The largest sum of two neighbours of one sign, [out]: `graph.weight_scales` tells why."""
    rows = tf.reshape(kernel, (-1, kernel.shape[-1]))
    rows = tf.pad(rows, ((0, rows.shape[0] % 2), (0, 0)))
    pairs = tf.reshape(rows, (-1, 2, rows.shape[1]))
    sums = [tf.reduce_sum(tf.nn.relu(sign * pairs), axis=1) for sign in (1.0, -1.0)]
    return tf.reduce_max(tf.stack(sums), axis=(0, 1))


class LayerQuantization(_QuantizeConfig):
    """What is rounded in one layer: its kernel, if it has one, and its output, if asked."""

    def __init__(self, kind: str | None, input_scale: float, output: Affine | None) -> None:
        self.kind = kind
        self.input_scale = input_scale
        self.output = output

    def get_weights_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:
        """The kernel."""
        if self.kind is None:
            return []
        quantizer = SymmetricKernel(self.kind, layer.bias, self.input_scale)
        return [(getattr(layer, _ATTRIBUTES[self.kind]), quantizer)]

    def set_quantize_weights(self, layer: Any, quantize_weights: list[Any]) -> None:
        """Let the layer compute with the rounded kernel."""
        if self.kind is not None:
            setattr(layer, _ATTRIBUTES[self.kind], quantize_weights[0])

    def get_activations_and_quantizers(self, layer: Any) -> list[Any]:
        """None: activations are layers of their own."""
        return []

    def set_quantize_activations(self, layer: Any, quantize_activations: list[Any]) -> None:
        """Nothing to set."""

    def get_output_quantizers(self, layer: Any) -> list[Any]:
        """The output's range."""
        return [] if self.output is None else [FixedRange(self.output.low, self.output.high)]

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {"kind": self.kind, "input_scale": self.input_scale, "output": self.output}


class _Rounding(_QuantizeWrapper):
    """tfmot's wrapper, traced as it is written: autograph has nothing to convert in it."""

    call = tf.autograph.experimental.do_not_convert(_QuantizeWrapper.call)


def qat_model(
    graph: Graph, ranges: dict[str, Affine], place: Wrap = lambda layer, node: layer
) -> tf_keras.Model:
    """The graph with rounding where the int8 files round: normalised image -> logits.

    Each layer is wrapped while the model is built. `quantize_apply` would come to the same
    wrappers after it has cloned the model four times, which takes four times as long.

    Args:
      graph: the folded network.
      ranges: one a name of `graph.range_points`.
      place: what to build into the model in the place of a layer that rounds what it should.
    """
    return to_keras(graph, lambda layer, node: place(_wrap(layer, node, graph, ranges), node))


def _wrap(layer: Any, node: Node | None, graph: Graph, ranges: dict[str, Affine]) -> Any:
    """The layer with rounding of its kernel and its output, where there is something to round."""
    point = ranges.get(node.name if node else IMAGE)
    kind, scale = None, 0.0
    if node and node.op in _ATTRIBUTES and not node.is_float:
        kind, scale = node.op, input_range(graph, ranges, node).scale
    if kind is None and point is None:
        return layer
    return _Rounding(layer, LayerQuantization(kind, scale, point))


def _layers(model: tf_keras.Model) -> dict[str, Any]:
    """The layers with weights by name, wrapped where they are."""
    found = {}
    for layer in model.layers:
        inner = getattr(layer, "layer", layer)
        if hasattr(inner, "bias"):
            found[inner.name] = layer
    return found


def _variables(model: tf_keras.Model) -> dict[str, Any]:
    named = {}
    for name, layer in _layers(model).items():
        for variable in layer.weights:
            short = variable.name.rsplit("/", 1)[-1].split(":")[0]
            if short in ("kernel", "depthwise_kernel"):
                named[f"{name}/kernel"] = variable
            elif short == "bias":
                named[f"{name}/bias"] = variable
    return named


def kernel_variables(model: tf_keras.Model) -> dict[str, Any]:
    """The unrounded kernels of a QAT model that are trained, under the names of their layers."""
    named = _variables(model).items()
    return {name.removesuffix("/kernel"): one for name, one in named if name.endswith("/kernel")}


def get_arrays(model: tf_keras.Model) -> Arrays:
    """The unrounded weights of a QAT model, under the graph's names."""
    return {name: variable.numpy() for name, variable in _variables(model).items()}
