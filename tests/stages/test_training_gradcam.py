"""Grad-CAM finds the place that decides, in a network whose only evidence is one colour."""

from __future__ import annotations

import numpy as np
import pytest

tf_keras = pytest.importorskip("tf_keras")

from toolchain.training.gradcam import class_activation_maps, explained_layer  # noqa: E402

SIZE = 32


def network(pools: int = 0):
    """Class 0 is the mean of red, class 1 of blue, on 8 x 8 places; nothing is random."""
    inputs = tf_keras.layers.Input((SIZE, SIZE, 3), name="image")
    x = tf_keras.layers.Conv2D(2, 4, strides=4, use_bias=False, name="colours")(inputs)
    for at in range(pools):
        x = tf_keras.layers.MaxPooling2D(name=f"pool_{at}")(x)
        x = tf_keras.layers.ReLU(name=f"relu_{at}")(x)
    x = tf_keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    made = tf_keras.Model(inputs, tf_keras.layers.Dense(2, use_bias=False, name="logits")(x))
    kernel = np.zeros((4, 4, 3, 2), np.float32)
    kernel[..., 0, 0] = kernel[..., 2, 1] = 1 / 16
    made.get_layer("colours").set_weights([kernel])
    made.get_layer("logits").set_weights([np.eye(2, dtype=np.float32)])
    return made


def prepare(pixels, seed, training):
    return pixels / 255.0


@pytest.fixture
def photo():
    """Red in the upper left, blue in the lower right."""
    pixels = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    pixels[0, 4:8, 4:8, 0] = pixels[0, 24:28, 20:24, 2] = 255
    return pixels


@pytest.mark.parametrize(("label", "place"), [(0, (1, 1)), (1, (6, 5))])
def test_the_map_peaks_where_the_class_is(photo, label: int, place: tuple[int, int]) -> None:
    maps, layer = class_activation_maps(network(), prepare, photo, np.asarray([label]))
    assert (maps.shape, maps.dtype, layer) == ((1, 8, 8), np.float32, "colours")
    assert np.unravel_index(maps[0].argmax(), (8, 8)) == place
    assert maps[0].max() == 1
    assert np.count_nonzero(maps[0]) == 1


def test_a_photo_without_evidence_has_an_empty_map(photo) -> None:
    maps, _ = class_activation_maps(network(), prepare, photo * 0, np.asarray([0]))
    assert not maps.any()


def test_the_layer_still_tells_places_apart() -> None:
    """8 places a side, then 4, then 2: the deepest with 4 is taken, and no pooling layer."""
    assert explained_layer(network(1)).name == "relu_0"
    assert explained_layer(network(3)).name == "relu_0"
