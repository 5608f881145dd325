"""Which layers suffer from eight bits: signal against rounding noise, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import tensorflow as tf
import tf_keras

from toolchain.evidence import LayerError, Sensitivity
from toolchain.quantization.fold import to_keras
from toolchain.quantization.graph import IMAGE, Affine, Graph, Node, rounded_kernels
from toolchain.quantization.qat import FixedRange
from toolchain.terminal import track
from toolchain.training.batches import Examples
from toolchain.training.inference import Prepare, prepared
from toolchain.training.tensors import lent

_BATCH: Final = 16
# What "no noise at all" is called.
_CEILING_DB: Final = 120.0


def sensitivity(
    graph: Graph, ranges: dict[str, Affine], examples: Examples, prepare: Prepare
) -> Sensitivity:
    """The noise that each layer with weights adds, everything before it exact.

    Its kernel and its output are rounded as in the int8 files; the output is that of the
    activation behind it, where there is one. Logits are compared within their range: what lies
    beyond, softmax does not hear, see `ranges.logits_range`. See `evidence.LayerError`.
    """
    layers = graph.integer_layers()
    ends = {layer.name: _end(graph, layer) for layer in layers}
    exact = to_keras(graph)
    wanted = {layer.inputs[0] for layer in layers} | {end.name for end in ends.values()}
    probe = tf_keras.Model(exact.input, {name: _output(exact, name) for name in sorted(wanted)})
    rounded = to_keras(graph.with_arrays(graph.arrays | rounded_kernels(graph, ranges)))

    def heard(layer: Node, output: Any) -> Any:
        if layer is not graph.nodes[-1]:
            return output
        point = ranges[layer.name]
        return tf.clip_by_value(output, point.low, point.high)

    def noisy(layer: Node, given: Any) -> list[Any]:
        """The output with kernel and output rounded, and with the kernel alone."""
        end = ends[layer.name]
        result = rounded.get_layer(layer.name)(given)
        if end is not layer:
            result = rounded.get_layer(end.name)(result)
        point = ranges[end.name]
        return [FixedRange(point.low, point.high)(result, False, {}), result]

    @tf.function(reduce_retracing=True, autograph=False)
    def powers(pixels: Any) -> Any:
        image = prepared(prepare, pixels)
        outputs = probe(image, training=False)
        rows = []
        for layer in layers:
            truth = heard(layer, outputs[ends[layer.name].name])
            found = noisy(layer, outputs[layer.inputs[0]])
            noises = [heard(layer, one) - truth for one in found]
            rows.append([tf.reduce_sum(tf.square(tensor)) for tensor in (truth, *noises)])
        return tf.stack(rows)

    return Sensitivity(
        tuple(
            LayerError(layer.name, layer.op, _decibels(signal, noise), _decibels(signal, kernel))
            for layer, (signal, noise, kernel) in zip(
                layers, _summed(powers, examples), strict=True
            )
        )
    )


def _summed(powers: Callable[[Any], Any], examples: Examples) -> list[list[float]]:
    """Signal, noise, and noise of the kernel alone, of each layer over all examples."""
    batches = track(examples.in_order(_BATCH), "layer errors", total=examples.steps(_BATCH))
    total = sum(powers(lent(pixels)).numpy().astype(np.float64) for pixels, _ in batches)
    rows: list[list[float]] = np.asarray(total).tolist()
    return rows


def _decibels(signal: float, noise: float) -> float:
    if noise <= 0 or signal <= 0:
        return _CEILING_DB
    return round(float(min(10 * np.log10(signal / noise), _CEILING_DB)), 3)


def _end(graph: Graph, layer: Node) -> Node:
    """The node whose output is rounded after a layer: its activation, where that alone reads it."""
    readers = graph.consumers(layer.name)
    fused = len(readers) == 1 and readers[0].op in ("relu", "relu6")
    return readers[0] if fused else layer


def _output(model: tf_keras.Model, name: str) -> Any:
    return model.get_layer(f"{IMAGE}_quantized" if name == IMAGE else name).output
