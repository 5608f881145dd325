"""Channels of zeros, tensors that never change, kernels of few values: every format agrees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from four_layers import EXAMPLES, PIXELS, WAY, answers, network, prepare, written
from networks import softmax

from toolchain.images.preprocess import normalise
from toolchain.quantization.calibrate import calibrate
from toolchain.quantization.fold import to_keras
from toolchain.quantization.graph import Graph, stored_weights, weight_scales
from toolchain.quantization.integers import IntegerNetwork
from toolchain.quantization.qat import SymmetricKernel
from toolchain.quantization.snap import snap
from toolchain.training.compression import clustered

# Of a probability, between a file and its simulation where both add the same integers.
SAME = 1e-6
# Of a probability, that 8 bits cost.
ROUNDED = 0.05
METHODS = ("minmax", "percentile", "mse")


def changed(**arrays: np.ndarray) -> Graph:
    """The network with other arrays; "__" stands for the slash."""
    return network().with_arrays(
        network().arrays | {name.replace("__", "/"): one for name, one in arrays.items()}
    )


def dead_channels() -> Graph:
    """Channels without weights, in either kind of convolution, whose biases are all they say."""
    arrays = {name: one.copy() for name, one in network().arrays.items()}
    arrays["project/kernel"][..., :2] = 0
    arrays["project/bias"][:2] = 2.0, -0.3
    arrays["deep/kernel"][:, :, 0] = 0
    arrays["deep/bias"][0] = 2.0
    # Equal neighbours, as clustering leaves them.
    arrays["conv/kernel"] = clustered(arrays["conv/kernel"], 2)
    return network().with_arrays(arrays)


def dead_tensor() -> Graph:
    """An activation that is zero whatever the photo."""
    return changed(deep__bias=np.full(8, -100, np.float32))


def hardly_alive() -> Graph:
    """An activation whose largest value is a hundredth of a step of what it is added up from."""
    probe = tf_keras.Model((whole := to_keras(network())).input, whole.get_layer("deep").output)
    largest = probe(normalise(PIXELS, WAY)).numpy().max(axis=(0, 1, 2))
    return changed(deep__bias=network().arrays["deep/bias"] - largest + np.float32(1e-5))


@pytest.mark.parametrize("change", [dead_channels, dead_tensor, hardly_alive])
def test_what_is_dead_says_the_same_in_qat_and_in_both_formats(change, tmp_path: Path) -> None:
    graph = change()
    ranges = calibrate(graph, EXAMPLES, prepare, WAY, "minmax")
    images = normalise(PIXELS, WAY)
    exact = softmax(to_keras(graph)(images).numpy())
    graph = snap(graph, ranges)
    expected = softmax(IntegerNetwork(graph, ranges)(images).numpy())
    assert np.abs(expected - exact).max() < ROUNDED
    for kind in ("onnx", "tflite"):
        found = answers(written(tmp_path, kind, graph, ranges))
        assert np.abs(found - expected).max() < SAME, kind


@pytest.mark.parametrize("op", ["conv", "depthwise", "dense"])
def test_a_large_bias_of_a_small_channel_fits_32_bits(op: str) -> None:
    shape = (1, 3, 2, 1) if op == "depthwise" else (1, 2, 3, 2) if op == "conv" else (6, 2)
    kernel, bias = np.full(shape, 1e-7, np.float32), np.array([1e-3, 500], np.float32)
    steps = np.float64(0.02) * weight_scales(kernel, op, bias, 0.02)
    assert (np.abs(bias / steps) < 1.001 * 2**30).all()
    # No channel is coarser for it than it has to be.
    assert np.abs(bias / steps)[1] > 0.999 * 2**30
    ordinary = kernel * 1e6
    assert np.array_equal(
        weight_scales(ordinary, op, bias, 0.02), weight_scales(ordinary, op, 0 * bias, 0.02)
    )


@pytest.mark.parametrize("clusters", [2, 4, 8])
def test_a_clustered_kernel_has_the_same_integers_in_training_and_in_files(clusters: int) -> None:
    random = np.random.default_rng(0)
    values = clustered(random.normal(size=(3, 3, 16, 32)).astype(np.float32), clusters)
    kernel = values * random.uniform(0.5, 2, 32).astype(np.float32)
    bias = random.normal(size=32).astype(np.float32)
    scales = weight_scales(kernel, "conv", bias, 0.02)
    found = SymmetricKernel("conv", tf.constant(bias), 0.02)(tf.constant(kernel), False, {})
    assert np.array_equal(np.round(found / scales), stored_weights(kernel, scales, axis=3))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [-3000.0, 0.0, 40.0])
def test_a_tensor_that_never_changes_has_a_range(value: float, method: str) -> None:
    graph = changed(
        project__kernel=np.zeros((1, 1, 8, 8), np.float32),
        project__bias=np.full(8, value, np.float32),
    )
    point = calibrate(graph, EXAMPLES, prepare, WAY, method)["project"]
    assert abs(value) <= 1.01 * max(-point.low, point.high)
    assert point.high - point.low == pytest.approx(abs(value) or 1.0, rel=0.01)
