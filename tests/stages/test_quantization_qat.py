"""Simulated 8-bit arithmetic: what the graph rounds is what integers would hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from networks import photos, random_network, recipe_of

from toolchain.images.preprocess import Preprocessing, normalise
from toolchain.quantization.calibrate import calibrate
from toolchain.quantization.fold import fold, to_keras
from toolchain.quantization.graph import (
    IMAGE,
    Affine,
    Graph,
    Node,
    affine,
    input_affine,
    range_points,
    weight_scales,
)
from toolchain.quantization.qat import get_arrays, qat_model
from toolchain.quantization.sample import calibration_rows
from toolchain.quantization.snap import snap
from toolchain.training.batches import Examples
from toolchain.training.inference import Inference
from toolchain.training.stage import pixel_examples, preparation

TOLERANCE = {
    # Share of outputs that may lie one step away: sums of float32 at the edge of a step.
    "one step away": 1e-3,
    # Against float, in standard deviations of the logits.
    "calibrated logits": 0.35,
    "agreement with float": 0.95,
}
SIZE = 6
WAY = Preprocessing.of("symmetric", 32)


def one_layer(op: str) -> tuple[Graph, dict[str, Affine]]:
    """image -> a linear operation -> relu6, with random weights."""
    random = np.random.default_rng(3)
    shape = {"conv": (3, 3, 3, 5), "depthwise": (3, 3, 3, 1), "dense": (SIZE * SIZE * 3, 5)}[op]
    kernel = (random.normal(size=shape) * 0.3).astype(np.float32)
    if op == "depthwise":
        kernel[:, :, 0] = 0  # a channel of zeros has a scale too
    bias = random.normal(size=3 if op == "depthwise" else 5).astype(np.float32) * 0.2
    nodes = [Node("layer", op, (IMAGE,))]
    if op == "dense":
        nodes = [Node("flat", "flatten", (IMAGE,)), Node("layer", op, ("flat",))]
    nodes.append(Node("act", "relu6", ("layer",)))
    graph = Graph(SIZE, tuple(nodes), {"layer/kernel": kernel, "layer/bias": bias})
    ranges = {IMAGE: input_affine(WAY.mean, WAY.std), "act": affine(0.0, 2.5)}
    return snap(graph, ranges), ranges


def in_integers(graph: Graph, ranges: dict[str, Affine], images: np.ndarray) -> np.ndarray:
    """The same in int64, as Jacob et al. (arXiv 1712.05877, section 2.2) define it."""
    point, out = ranges[IMAGE], ranges["act"]
    op = next(node.op for node in graph.nodes if node.name == "layer")
    kernel = graph.arrays["layer/kernel"]
    bias = graph.arrays["layer/bias"]
    scales = weight_scales(kernel, op, bias, point.scale).astype(np.float64)
    divisor = scales[:, None] if op == "depthwise" else scales
    weights = np.clip(np.round(kernel / divisor), -127, 127).astype(np.int64)
    stored = np.clip(np.round(images / point.scale) + point.zero_point, 0, 255).astype(np.int64)
    centred = stored - point.zero_point
    if op == "dense":
        sums = centred.reshape(len(images), -1) @ weights
    else:
        padded = np.pad(centred, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        sums = np.einsum("nhwcij,ijc->nhwc", windows, weights[..., 0]) if op == "depthwise" else (
            np.einsum("nhwcij,ijco->nhwo", windows, weights)
        )  # fmt: skip
    step = point.scale * scales
    sums = sums + np.round(bias / step).astype(np.int64)
    return np.clip(np.round(sums * step / out.scale) + out.zero_point, 0, 255)


@pytest.mark.parametrize("op", ["conv", "depthwise", "dense"])
def test_the_simulation_gives_what_integers_give(op: str) -> None:
    graph, ranges = one_layer(op)
    images = normalise(photos(64, SIZE), WAY)
    real = qat_model(graph, ranges)(images, training=False).numpy()
    out = ranges["act"]
    found = np.round(real / out.scale) + out.zero_point
    assert np.abs(real / out.scale - np.round(real / out.scale)).max() < 1e-3
    expected = in_integers(graph, ranges, images)
    assert len(np.unique(expected)) > 50
    difference = np.abs(found - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= TOLERANCE["one step away"]


@pytest.fixture(scope="module")
def network():
    """A random MobileNetV2, folded, with ranges from photos."""
    recipe = recipe_of(32)
    graph = fold(random_network(recipe))
    inputs = photos(32, 32)
    examples = Examples(inputs, np.zeros(32, np.int64), np.arange(32))
    return graph, calibrate(graph, examples, preparation(recipe), WAY, "minmax"), inputs


def test_every_point_has_a_range_that_holds_what_was_seen(network) -> None:
    graph, ranges, inputs = network
    assert list(ranges) == range_points(graph)
    assert ranges[IMAGE] == input_affine(WAY.mean, WAY.std)
    model = to_keras(graph)
    names = [name for name in ranges if name != IMAGE]
    probe = tf_keras.Model(model.input, [model.get_layer(name).output for name in names])
    outputs = probe(normalise(inputs, WAY))
    for name, tensor in zip(names, outputs, strict=True):
        point = ranges[name]
        assert point.low <= tensor.numpy().min() + point.scale
        assert point.high >= tensor.numpy().max() - point.scale
        # No wider than needed either: both ends, or zero, were met within a step.
        assert point.high - point.low <= np.ptp(np.append(tensor.numpy(), 0)) + 2 * point.scale


def test_calibrated_logits_stay_close_to_float(network) -> None:
    graph, ranges, inputs = network
    x = normalise(inputs, WAY)
    exact = to_keras(graph)(x).numpy()
    rounded = qat_model(graph, ranges)(x, training=False).numpy()
    assert not np.array_equal(exact, rounded)
    assert np.abs(rounded - exact).mean() < TOLERANCE["calibrated logits"] * exact.std()


def test_weights_go_in_and_come_out_unrounded(network) -> None:
    graph, ranges, _ = network
    model = qat_model(graph, ranges)
    found = get_arrays(model)
    assert found.keys() == graph.arrays.keys()
    assert all(np.array_equal(found[name], graph.arrays[name]) for name in found)


def test_only_kernels_and_biases_are_trained(network) -> None:
    graph, ranges, inputs = network
    model = qat_model(graph, ranges)
    with tf.GradientTape() as tape:
        logits = model(normalise(inputs[:2], WAY), training=True)
        loss = tf.reduce_mean(logits**2)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert len(model.trainable_variables) == len(graph.arrays)
    assert all(gradient is not None for gradient in gradients)
    assert sum(bool(np.any(g.numpy())) for g in gradients) > 0.9 * len(gradients)


def test_calibration_images_are_of_the_train_split_and_of_the_seed_alone() -> None:
    rows = np.array([3, 5, 8, 13, 21, 34, 55])
    picked = calibration_rows(rows, 4, seed=1)
    assert len(picked) == 4
    assert set(picked) <= set(rows)
    assert np.array_equal(picked, calibration_rows(rows, 4, seed=1))
    assert not np.array_equal(picked, calibration_rows(rows, 4, seed=2))
    assert np.array_equal(calibration_rows(rows, 1000, seed=1), rows)


def test_the_calibrated_start_reads_digits_as_float_does(digits_run) -> None:
    """Before any step of training: rounding alone costs next to nothing."""
    from toolchain.quantization.stage import folded

    recipe, dataset = digits_run.recipe, digits_run.dataset
    graph, prepare = folded(digits_run.trained, recipe), preparation(recipe)
    train = pixel_examples(dataset, "train")
    sample = replace(train, rows=calibration_rows(train.rows, 128, recipe.train.seed))
    way = Preprocessing.of(recipe.input.pixels, graph.size)
    ranges = calibrate(graph, sample, prepare, way, "minmax")
    validation = pixel_examples(dataset, "validation")
    exact = Inference(to_keras(graph), prepare).logits(validation)
    rounded = Inference(qat_model(graph, ranges), prepare).logits(validation)
    agreement = np.mean(exact.argmax(axis=1) == rounded.argmax(axis=1))
    assert agreement >= TOLERANCE["agreement with float"]
