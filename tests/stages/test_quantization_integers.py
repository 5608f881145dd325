"""The reference of int8 files: exact sums, one rounding, and kernels that all round alike."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from four_layers import EXAMPLES, PIXELS, WAY, network, prepare
from networks import photos
from test_quantization_qat import SIZE, in_integers, one_layer

from toolchain.images.preprocess import normalise
from toolchain.quantization.calibrate import calibrate
from toolchain.quantization.graph import (
    IMAGE,
    Affine,
    Graph,
    Node,
    ranges_of,
    scales_of,
    stored_kernel,
    stored_weights,
    weight_scales,
)
from toolchain.quantization.integers import IntegerNetwork
from toolchain.quantization.qat import SymmetricKernel, qat_model
from toolchain.quantization.snap import snap

# What float32 can hold of whole numbers.
EXACT = 2**24
# In steps of the logits: what a simulation in float32 may be off, at most and on average.
STEPS = (2, 0.02)


@pytest.mark.parametrize("op", ["conv", "depthwise", "dense"])
def test_a_layer_gives_what_integers_give(op: str) -> None:
    graph, ranges = one_layer(op)
    images = normalise(photos(64, SIZE), WAY)
    out = ranges["act"]
    found = IntegerNetwork(graph, ranges)(images).numpy() / out.scale + out.zero_point
    expected = in_integers(graph, ranges, images)
    assert len(np.unique(expected)) > 50
    assert np.array_equal(np.round(found), expected)


def test_sums_that_float32_cannot_hold_are_exact() -> None:
    """Biases take all but the channel's number off sums of 40 million."""
    size, channels = 42, 16
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (1, size, size, 3))
    inputs = pixels.reshape(1, -1)
    kernel = random.uniform(50, 63, (inputs.shape[1], channels)).astype(np.float32)
    nodes = (Node("flat", "flatten", (IMAGE,)), Node("layer", "dense", ("flat",)))
    arrays = {"layer/kernel": kernel, "layer/bias": np.zeros(channels, np.float32)}
    graph, ranges = Graph(size, nodes, arrays), {IMAGE: Affine(1.0, 0)}
    stored = stored_kernel(graph, ranges, nodes[-1]).astype(np.int64)
    sums = inputs @ stored
    steps = scales_of(graph, ranges, nodes[-1]).astype(np.float64)
    arrays["layer/bias"] = ((np.arange(channels) - sums[0]) * steps).astype(np.float32)
    assert sums.min() > 2 * EXACT
    ranges["layer"] = Affine(float(steps[0]), 0)
    found = IntegerNetwork(graph, ranges)(pixels.astype(np.float32)).numpy().reshape(-1)
    # A bias of 40 million steps is float32 too, and rounded once more: to 4 steps, before any sum.
    left = np.round(arrays["layer/bias"] / steps) + sums[0]
    expected = np.clip(np.round(left * (steps / steps[0])), 0, 255)
    assert np.array_equal(np.round(found / steps[0]), expected)
    plain = np.float32(inputs) @ stored.astype(np.float32)
    assert np.any(plain.astype(np.int64) != sums), "float32 would have done"


@pytest.mark.parametrize("names", [(), ("conv",), ("project",), ("deep", "project"), ("logits",)])
def test_the_simulation_differs_by_its_float32_alone(names: tuple[str, ...]) -> None:
    """Depthwise layers, sums, pools and layers that stay float are among the nodes."""
    graph = network().keep_float(names)
    ranges = ranges_of(graph, calibrate(network(), EXAMPLES, prepare, WAY, "minmax"))
    graph, images = snap(graph, ranges), normalise(PIXELS, WAY)
    exact = IntegerNetwork(graph, ranges)(images).numpy()
    simulated = qat_model(graph, ranges)(images, training=False).numpy()
    step = np.ptp(exact) / 255
    off = np.abs(exact - simulated) / step
    assert np.ptp(exact.argmax(axis=1)) > 0
    assert off.max() <= STEPS[0]
    assert off.mean() <= STEPS[1]


def test_relu6_ends_at_six_where_its_range_goes_on() -> None:
    nodes = (Node("layer", "dense", ("pool",)), Node("act", "relu6", ("layer",)))
    graph = Graph(
        2,
        (Node("pool", "mean", (IMAGE,)), *nodes),
        {"layer/kernel": 9 * np.eye(3, dtype=np.float32), "layer/bias": np.zeros(3, np.float32)},
    )
    point = Affine(1 / 128, 128)
    ranges = {IMAGE: point, "pool": point, "act": Affine(8 / 255, 0)}
    image = np.broadcast_to(np.float32([-0.5, 0.25, 0.875]), (1, 2, 2, 3))
    found = IntegerNetwork(graph, ranges)(image).numpy()[0]
    assert found == pytest.approx([0, 2.25, 6], abs=8 / 255)
    assert found[2] == pytest.approx(6, abs=4.1 / 255)


def rounded_by_tensorflow(kernel: np.ndarray, scales: np.ndarray) -> np.ndarray:
    bias = np.zeros(kernel.shape[-1], np.float32)
    found = SymmetricKernel("conv", tf.constant(bias), 0.02)(tf.constant(kernel), False, {})
    return np.round(found.numpy() / scales).astype(np.int8)


def test_every_rounding_of_a_snapped_kernel_gives_the_same_integers() -> None:
    """Before, 1 in 10,000 of these weights was another integer in numpy than in TensorFlow."""
    random = np.random.default_rng(0)
    kernel = random.normal(size=(3, 3, 64, 256)).astype(np.float32)
    bias = np.zeros(256, np.float32)
    scales = weight_scales(kernel, "conv", bias, 0.02)
    # On a tie, but for the error of one product in float32.
    ties = (np.round(kernel / scales) + 0.5) * scales
    kernel = np.where(random.uniform(size=kernel.shape) < 0.01, ties, kernel).astype(np.float32)
    scales = weight_scales(kernel, "conv", bias, 0.02)
    stored = stored_weights(kernel, scales, axis=3)
    assert np.sum(stored != rounded_by_tensorflow(kernel, scales)) > 10
    graph = Graph(
        8, (Node("layer", "conv", (IMAGE,)),), {"layer/kernel": kernel, "layer/bias": bias}
    )
    ranges = {IMAGE: Affine(0.02, 128), "layer": Affine(1.0, 128)}
    snapped = snap(graph, ranges).arrays["layer/kernel"]
    scales = weight_scales(snapped, "conv", bias, 0.02)
    assert np.array_equal(
        stored_weights(snapped, scales, axis=3), rounded_by_tensorflow(snapped, scales)
    )
    assert np.abs(snapped - kernel).max() < 2e-4 * scales.max()
    again = snap(graph.with_arrays({"layer/kernel": snapped, "layer/bias": bias}), ranges)
    assert np.array_equal(again.arrays["layer/kernel"], snapped)
