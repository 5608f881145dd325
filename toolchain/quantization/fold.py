"""Keras network -> Graph: BatchNormalization folded, Dropout gone; and Graph -> Keras again.

One logit becomes the two-class dense layer that answers alike, so that nothing after this knows of
it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tf_keras
from numpy.typing import NDArray
from tf_keras import layers

from toolchain.errors import ModelError
from toolchain.quantization.balance import balance
from toolchain.quantization.graph import IMAGE, WITH_WEIGHTS, Graph, Node, Op
from toolchain.training.head import LogSigmoid, OneLogit
from toolchain.training.weights import Arrays

# factor, mean and beta: (x - mean) * factor + beta is what it makes of x.
Normalisation = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
# A layer, the node it is built from (None at the input) -> what is built in its place.
Wrap = Callable[[Any, Node | None], Any]


def fold(network: tf_keras.Model) -> Graph:
    """Describe a flat network and fold every BatchNormalization into a layer beside it.

    Behind a convolution or dense layer it is folded into that one: kernel' = kernel * gamma /
    sqrt(variance + epsilon), bias' = beta + (bias - mean) * the same factor (arXiv 1712.05877,
    equation 14). Behind an activation it is folded into the dense layer that reads it, and behind a
    ReLU shared with the one before (see `balance`). Computed in float64.

    Raises:
      ModelError: a layer that the exporters do not know, or a BatchNormalization behind an
        activation that something else than dense layers reads.
    """
    folding = _Folding(network.layers[0].name)
    for layer in network.layers[1:]:
        folding.add(layer)
    graph = Graph(int(network.input.shape[1]), tuple(folding.nodes), folding.arrays)
    return functools.reduce(balance, folding.ahead, graph)


class _Folding:
    """The graph of the layers so far.

    `alias` has the node that gives a layer's output; `owed` what the readers of a layer have yet to
    do to it; `ahead` the dense layers that have done it.
    """

    def __init__(self, image: str) -> None:
        self.alias = {image: IMAGE}
        self.owed: dict[str, Normalisation] = {}
        self.ahead: list[str] = []
        self.nodes: list[Node] = []
        self.arrays: Arrays = {}

    def add(self, layer: Any) -> None:
        names = _input_names(layer)
        inputs = tuple(self.alias[name] for name in names)
        due = [self.owed[name] for name in names if name in self.owed]
        if isinstance(layer, layers.Dropout):
            self.alias[layer.name] = inputs[0]
            if due:
                self.owed[layer.name] = due[0]
            return
        if due and not isinstance(layer, layers.Dense):
            raise ModelError("no exporter for what reads a BatchNormalization", layer.name)
        if isinstance(layer, layers.BatchNormalization):
            self._normalise(layer, inputs[0])
            return
        self.alias[layer.name] = layer.name
        self.nodes.append(_node(layer, inputs))
        if self.nodes[-1].op in WITH_WEIGHTS:
            _take_weights(self.arrays, layer)
        for one in due:
            _fold_ahead(self.arrays, layer.name, one)
            self.ahead.append(layer.name)

    def _normalise(self, layer: Any, source: str) -> None:
        self.alias[layer.name] = source
        if f"{source}/kernel" in self.arrays:
            _fold_into(self.arrays, source, _normalisation(layer))
        else:
            self.owed[layer.name] = _normalisation(layer)


def _input_names(layer: Any) -> list[str]:
    tensors = layer.input if isinstance(layer.input, list) else [layer.input]
    return [tensor._keras_history.layer.name for tensor in tensors]


def _node(layer: Any, inputs: tuple[str, ...]) -> Node:
    op = _op(layer)
    if op in ("conv", "depthwise"):
        return Node(layer.name, op, inputs, layer.strides[0], layer.padding)
    if op == "max_pool":
        return Node(layer.name, op, inputs, layer.strides[0], layer.padding)
    return Node(layer.name, op, inputs)


def _op(layer: Any) -> Op:
    if isinstance(layer, layers.ReLU):
        return "relu" if layer.max_value is None else "relu6"
    for kind, op in _OPS:
        if isinstance(layer, kind):
            return op
    raise ModelError(f"no exporter for a layer of type {type(layer).__name__}", layer.name)


_OPS: tuple[tuple[Any, Op], ...] = (
    (layers.DepthwiseConv2D, "depthwise"),
    (layers.Conv2D, "conv"),
    (layers.Dense, "dense"),
    (layers.Add, "add"),
    (layers.MaxPooling2D, "max_pool"),
    (layers.GlobalAveragePooling2D, "mean"),
    (layers.GlobalMaxPooling2D, "max"),
    (layers.Flatten, "flatten"),
    (LogSigmoid, "log_sigmoid"),
)


def _take_weights(arrays: Arrays, layer: Any) -> None:
    if isinstance(layer, OneLogit):
        arrays[f"{layer.name}/kernel"], arrays[f"{layer.name}/bias"] = layer.as_two()
        return
    kernel = layer.depthwise_kernel if hasattr(layer, "depthwise_kernel") else layer.kernel
    arrays[f"{layer.name}/kernel"] = kernel.numpy().astype(np.float32)
    if layer.use_bias:
        bias = layer.bias.numpy().astype(np.float32)
    else:
        channels = kernel.shape[2] if hasattr(layer, "depthwise_kernel") else kernel.shape[-1]
        bias = np.zeros(channels, np.float32)
    arrays[f"{layer.name}/bias"] = bias


def _normalisation(layer: Any) -> Normalisation:
    """What a BatchNormalization does in inference: factor, mean, beta, float64 [channels]."""
    gamma, beta, mean, variance = (np.asarray(w, np.float64) for w in layer.get_weights())
    return gamma / np.sqrt(variance + layer.epsilon), mean, beta


def _fold_ahead(arrays: Arrays, name: str, norm: Normalisation) -> None:
    """Into the dense layer that reads the normalised vector."""
    factor, mean, beta = norm
    kernel = arrays[f"{name}/kernel"].astype(np.float64)
    bias = arrays[f"{name}/bias"].astype(np.float64) + (beta - mean * factor) @ kernel
    arrays[f"{name}/kernel"] = (factor[:, None] * kernel).astype(np.float32)
    arrays[f"{name}/bias"] = bias.astype(np.float32)


def _fold_into(arrays: Arrays, name: str, norm: Normalisation) -> None:
    """Into the linear layer whose output is normalised."""
    factor, mean, beta = norm
    kernel = arrays[f"{name}/kernel"].astype(np.float64)
    # A depthwise kernel is [h, w, channels, 1], all others end in the output channels.
    is_depthwise = kernel.ndim == 4 and kernel.shape[3] == 1 and kernel.shape[2] == len(factor)
    kernel *= factor[:, None] if is_depthwise else factor
    bias = beta + (arrays[f"{name}/bias"].astype(np.float64) - mean) * factor
    arrays[f"{name}/kernel"] = kernel.astype(np.float32)
    arrays[f"{name}/bias"] = bias.astype(np.float32)


def to_keras(graph: Graph, wrap: Wrap = lambda layer, node: layer) -> tf_keras.Model:
    """A flat Keras model of the graph: float32 [batch, size, size, 3] -> logits.

    Args:
      graph: folded network.
      wrap: what to build into the model in the place of a layer.
    """
    image = layers.Input((graph.size, graph.size, 3), name=IMAGE)
    # A layer of its own that quantization can put the input's 8 bits on.
    entry = layers.Activation("linear", name=f"{IMAGE}_quantized")
    tensors = {IMAGE: wrap(entry, None)(image)}
    for node in graph.nodes:
        layer = wrap(_layer(node, graph), node)
        tensors[node.name] = layer(arguments(node, tensors))
    return tf_keras.Model(image, tensors[graph.nodes[-1].name], name="folded")


def arguments(node: Node, tensors: Mapping[str, Any]) -> Any:
    """What the layer of a node is called with: a sum takes a list, all others one tensor."""
    inputs = [tensors[name] for name in node.inputs]
    return inputs if node.op == "add" else inputs[0]


def _layer(node: Node, graph: Graph) -> Any:
    if node.op in WITH_WEIGHTS:
        return _linear_layer(node, graph)
    plain: dict[Op, Callable[[], Any]] = {
        "relu": lambda: layers.ReLU(name=node.name),
        "relu6": lambda: layers.ReLU(6.0, name=node.name),
        "add": lambda: layers.Add(name=node.name),
        "mean": lambda: layers.GlobalAveragePooling2D(name=node.name),
        "max": lambda: layers.GlobalMaxPooling2D(name=node.name),
        "flatten": lambda: layers.Flatten(name=node.name),
        "log_sigmoid": lambda: LogSigmoid(name=node.name),
        "max_pool": lambda: layers.MaxPooling2D(node.stride, padding=node.padding, name=node.name),
    }
    return plain[node.op]()


def _linear_layer(node: Node, graph: Graph) -> Any:
    kernel = graph.arrays[f"{node.name}/kernel"]
    known: dict[str, Any] = {
        "name": node.name,
        "bias_initializer": tf_keras.initializers.Constant(graph.arrays[f"{node.name}/bias"]),
    }
    weights = tf_keras.initializers.Constant(kernel)
    if node.op == "dense":
        return layers.Dense(kernel.shape[1], kernel_initializer=weights, **known)
    known |= {"strides": node.stride, "padding": node.padding}
    if node.op == "depthwise":
        return layers.DepthwiseConv2D(kernel.shape[:2], depthwise_initializer=weights, **known)
    return layers.Conv2D(kernel.shape[3], kernel.shape[:2], kernel_initializer=weights, **known)
