"""Rounding that shifts a channel's mean is taken off its bias; nothing else is touched."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras
from four_layers import EXAMPLES, PIXELS, WAY, network, prepare
from networks import photos, random_network, recipe_of

from toolchain.images.preprocess import Preprocessing
from toolchain.quantization.bias_correction import correct_biases, correction_images
from toolchain.quantization.calibrate import calibrate
from toolchain.quantization.fold import fold, to_keras
from toolchain.quantization.graph import IMAGE, Affine, Graph, Node, input_affine, scales_of
from toolchain.quantization.qat import qat_model
from toolchain.training.batches import Examples
from toolchain.training.stage import preparation

LAYERS = ("conv", "deep", "project", "logits")


@pytest.fixture(scope="module")
def ranges() -> dict[str, Affine]:
    return calibrate(network(), EXAMPLES, prepare, WAY, "minmax")


def channel_means(model: tf_keras.Model, layer: str, images: np.ndarray) -> np.ndarray:
    """Of a layer of a network, wrapped or not."""
    found = next(one for one in model.layers if getattr(one, "layer", one).name == layer)
    output = tf_keras.Model(model.input, found.output).predict(images, verbose=0)
    return output.reshape(-1, output.shape[-1]).mean(axis=0, dtype=np.float64)


def shifts(exact: Graph, rounded: Graph, ranges: dict[str, Affine], layer: str) -> np.ndarray:
    images = np.asarray(prepare(PIXELS.astype(np.float32), None, False))
    truth = channel_means(to_keras(exact), layer, images)
    return np.abs(channel_means(qat_model(rounded, ranges), layer, images) - truth)


@pytest.mark.parametrize("layer", LAYERS)
def test_every_channel_keeps_its_mean(ranges: dict[str, Affine], layer: str) -> None:
    """project and logits get their 8 bits after it, and of each logit there are but 32."""
    graph = network()
    corrected = correct_biases(graph, ranges, EXAMPLES, prepare)
    before = shifts(graph, graph, ranges, layer)
    after = shifts(graph, corrected, ranges, layer)
    step = ranges[layer].scale if layer in ranges else 0.0
    assert after.max() < max(1e-5, step / 4)
    assert after.max() < before.max() / 3


def test_the_shift_of_one_channel_is_what_its_rounding_loses() -> None:
    """Bytes of 200 meet weights 100.4 and 20.4 steps large: 0.8 steps are lost, 200 bytes each."""
    kernel = np.array([[100.4, 10.0], [20.4, 10.0], [127 - 20.4, 117.0]], np.float32) / 127
    arrays = {"logits/kernel": kernel, "logits/bias": np.zeros(2, np.float32)}
    nodes = (Node("flat", "flatten", (IMAGE,)), Node("logits", "dense", ("flat",)))
    graph = Graph(1, nodes, arrays)
    ranges = {IMAGE: input_affine(0.0, 1.0), "logits": Affine(200.0, 0)}
    scale = scales_of(graph, ranges, graph.nodes[-1])[0]
    lost = (kernel / scale - np.round(kernel / scale)).sum(axis=0) * scale * 200
    pixels = Examples(np.full((4, 1, 1, 3), 200, np.uint8), np.zeros(4, np.int64), np.arange(4))
    corrected = correct_biases(graph, ranges, pixels, lambda image, seed, training: image)
    assert np.abs(lost).max() > 0.3
    np.testing.assert_allclose(corrected.arrays["logits/bias"], lost, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(corrected.arrays["logits/kernel"], kernel)


def test_a_network_that_is_float_everywhere_needs_none(ranges: dict[str, Affine]) -> None:
    graph = network().keep_float(LAYERS)
    corrected = correct_biases(graph, {IMAGE: ranges[IMAGE]}, EXAMPLES, prepare)
    for name, value in graph.arrays.items():
        # The bytes of a photo are exact in the range of the input.
        np.testing.assert_allclose(corrected.arrays[name], value, atol=1e-5, err_msg=name)


def test_it_is_the_same_whenever_it_is_done_again(ranges: dict[str, Affine]) -> None:
    one, other = (correct_biases(network(), ranges, EXAMPLES, prepare) for _ in range(2))
    for name, value in one.arrays.items():
        np.testing.assert_array_equal(other.arrays[name], value, err_msg=name)


def test_a_deep_network_errs_less_by_it() -> None:
    """MobileNetV2: 53 layers of shifts add up in the logits, on photos that were not measured."""
    recipe = recipe_of(48)
    graph, prepared = fold(random_network(recipe)), preparation(recipe)
    known = Examples(photos(128, 48), np.zeros(128, np.int64), np.arange(128))
    ranges = calibrate(graph, known, prepared, Preprocessing.of("symmetric", 48), "minmax")
    corrected = correct_biases(graph, ranges, known, prepared)
    images = prepared(photos(160, 48)[128:].astype(np.float32), np.zeros(2, np.int32), False)
    truth = to_keras(graph).predict(images, verbose=0)
    plain, better = (
        qat_model(one, ranges).predict(images, verbose=0) - truth for one in (graph, corrected)
    )
    assert np.abs(better.mean(axis=0)).max() < np.abs(plain.mean(axis=0)).max() / 2
    assert np.square(better).mean() < np.square(plain).mean()


@pytest.mark.parametrize(("size", "images"), [(48, 455), (224, 20), (1024, 8)])
def test_photos_are_as_many_as_memory_holds(size: int, images: int) -> None:
    """VGG16-like: 64 channels at full size, float32, in four copies within a GiB."""
    kernel = np.zeros((1, 1, 3, 64), np.float32)
    arrays = {"conv/kernel": kernel, "conv/bias": np.zeros(64, np.float32)}
    nodes = (Node("conv", "conv", (IMAGE,)), Node("logits", "mean", ("conv",)))
    assert correction_images(Graph(size, nodes, arrays)) == images


def test_what_a_range_cuts_off_is_not_made_up_for_by_the_rest() -> None:
    """One activation of 256 reaches 100 beyond a range of 10; the mean of all would rise by 0.4."""
    arrays = {name: np.eye(3, dtype=np.float32)[None, None] for name in ("a/kernel", "b/kernel")}
    arrays |= {name: np.zeros(3, np.float32) for name in ("a/bias", "b/bias")}
    nodes = (
        Node("a", "conv", (IMAGE,)),
        Node("a_relu", "relu", ("a",)),
        Node("b", "conv", ("a_relu",)),
        Node("logits", "mean", ("b",)),
    )
    pixels = np.full((4, 16, 16, 3), 5, np.uint8)
    pixels[:, 0, 0] = 110
    examples = Examples(pixels, np.zeros(4, np.int64), np.arange(4))
    narrow = Affine(10 / 255, 0)
    points = {IMAGE: input_affine(0.0, 1.0)} | dict.fromkeys(("a_relu", "b", "logits"), narrow)
    graph = Graph(16, nodes, arrays)
    corrected = correct_biases(graph, points, examples, lambda image, seed, training: image)
    assert np.abs(corrected.arrays["b/bias"]).max() < narrow.scale / 2
