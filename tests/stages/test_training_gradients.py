"""Gradients of convolutions, ours against TensorFlow's."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from networks import photos, random_network, recipe_of, small_vgg
from tf_keras import layers

from toolchain.images.preprocess import Preprocessing
from toolchain.quantization.calibrate import calibrate
from toolchain.quantization.fold import fold
from toolchain.quantization.qat import qat_model
from toolchain.training.batches import Examples
from toolchain.training.gradients import quick_gradients
from toolchain.training.stage import preparation

TOLERANCE = 2e-5  # of the largest gradient: float32 sums in another order
PLAIN = [
    {"kernel_size": 3, "padding": "same"},
    {"kernel_size": (5, 1), "padding": "same", "use_bias": False},
    {"kernel_size": 1},
]
OTHERS = [
    {"kernel_size": 3},
    {"kernel_size": 2, "padding": "same"},
    {"kernel_size": 3, "padding": "same", "strides": 2},
    {"kernel_size": 3, "padding": "same", "dilation_rate": 2},
    {"kernel_size": 1, "strides": 2},
]


def gradients(model: tf_keras.Model, images: tf.Tensor) -> tuple[list[np.ndarray], list[str]]:
    """Of the image and of all weights; and the operations that gave them."""

    @tf.function
    def compute(given):
        with tf.GradientTape() as tape:
            tape.watch(given)
            loss = tf.reduce_sum(tf.sin(model(given, training=False)))
        return tape.gradient(loss, [given, *model.trainable_variables])

    traced = compute.get_concrete_function(images)
    return [one.numpy() for one in traced(images)], [
        op.type for op in traced.graph.get_operations()
    ]


def both(model: tf_keras.Model, size: int) -> tuple[list[str], list[str]]:
    """The operations of TensorFlow's gradients and of ours, after holding one against the other."""
    images = tf.random.normal((4, size, size, 3), seed=1)
    theirs, before = gradients(model, images)
    with quick_gradients(model):
        ours, after = gradients(model, images)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=TOLERANCE * np.abs(other).max())
    assert gradients(model, images)[1] == before, "a model is left as it was"
    return before, after


def convolution(size: int = 6, **changes: object) -> tf_keras.Model:
    image = layers.Input((size, size, 3))
    return tf_keras.Model(image, layers.Conv2D(4, **changes)(image))


@pytest.mark.parametrize("size", [6, 21])
@pytest.mark.parametrize("changes", PLAIN)
def test_the_way_back_is_a_convolution(changes, size):
    before, after = both(convolution(size, **changes), size)
    assert "Conv2DBackpropInput" in before
    assert "Conv2DBackpropInput" not in after
    window_moves = size == 6 and changes["kernel_size"] != 1
    assert ("Conv2DBackpropFilter" in after) != window_moves


@pytest.mark.parametrize("changes", OTHERS)
def test_what_is_no_convolution_back_is_left_alone(changes):
    assert "Conv2DBackpropInput" in both(convolution(**changes), 6)[1]


def test_a_network_and_its_rounding_form(monkeypatch):
    small_vgg(monkeypatch)
    recipe = recipe_of(32, "vgg16")
    network = random_network(recipe)
    graph = fold(network)
    seen = Examples(photos(8, 32), np.zeros(8, np.int64), np.arange(8))
    way = Preprocessing.of(recipe.input.pixels, 32)
    ranges = calibrate(graph, seen, preparation(recipe), way, "minmax")
    for model in (network, qat_model(graph, ranges)):
        before, after = both(model, 32)
        assert after.count("Conv2DBackpropInput") < before.count("Conv2DBackpropInput") / 4


def test_a_network_of_depthwise_convolutions():
    before, after = both(random_network(recipe_of(32)), 32)
    assert after.count("Conv2DBackpropInput") < before.count("Conv2DBackpropInput") / 4


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_numbers_of_sixteen_bits_are_left_to_tensorflow(policy: str) -> None:
    model = convolution(
        kernel_size=3, padding="same", dtype=tf_keras.mixed_precision.Policy(policy)
    )
    images = tf.random.normal((4, 6, 6, 3), seed=1)
    theirs, before = gradients(model, images)
    with quick_gradients(model):
        ours, after = gradients(model, images)
    assert after == before
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
