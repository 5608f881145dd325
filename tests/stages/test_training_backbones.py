"""The backbones are those of Keras applications: same names, same weights, same numbers."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras
from networks import photos, randomise, recipe_of

from toolchain.recipe.defaults import ALPHAS
from toolchain.training.network import (
    backbone_layers,
    build_network,
    start_index,
)
from toolchain.training.weights import load_backbone, variables

TOLERANCE = {
    # Largest difference of an activation, against activations of about 1.
    "mobilenet_v2": 1e-4,
    "vgg16": 1e-4,
    # Pixels reach 150 there and sums run in another order.
    "caffe": 5e-3,
    "head": 1e-5,
}


def applications_mobilenet(size: int, alpha: float) -> tf_keras.Model:
    return tf_keras.applications.MobileNetV2(
        weights=None, include_top=False, input_shape=(size, size, 3), alpha=alpha
    )


def applications_vgg16(size: int) -> tf_keras.Model:
    return tf_keras.applications.VGG16(weights=None, include_top=False, input_shape=(size, size, 3))


def shapes(layers) -> dict[str, tuple[int, ...]]:
    return {name: tuple(v.shape) for name, v in variables(layers).items()}


def assert_numbered_alike(ours: tf_keras.Model, theirs: tf_keras.Model) -> None:
    """fine_tune.start = n trains the layers that Keras' model has from n on, and no others."""
    weighty = [n for n, layer in enumerate(theirs.layers) if layer.weights]
    assert [ours.layers[start_index(ours, n)].name for n in weighty] == [
        theirs.layers[n].name for n in weighty
    ]
    assert start_index(ours, len(theirs.layers)) is None


@pytest.mark.parametrize("alpha", [min(ALPHAS), 0.75, max(ALPHAS)])
def test_mobilenet_has_the_published_weights(alpha: float) -> None:
    ours = build_network(recipe_of(32, model={"alpha": alpha}), 10)
    theirs = applications_mobilenet(32, alpha)
    assert shapes(backbone_layers(ours)) == shapes(theirs.layers)
    head = sum(np.prod(v.shape) for v in ours.get_layer("logits").weights)
    assert ours.count_params() - head == theirs.count_params()
    assert_numbered_alike(ours, theirs)


@pytest.mark.parametrize(("size", "alpha"), [(48, 0.35), (49, 0.5), (63, 1.3)])
def test_mobilenet_computes_what_keras_computes(size: int, alpha: float) -> None:
    """Padding "same" stands for Keras' padding by hand, at even and odd sizes at every depth."""
    ours = build_network(recipe_of(size, model={"alpha": alpha}), 10)
    theirs = applications_mobilenet(size, alpha)
    values = randomise(variables(backbone_layers(ours)))
    for name, variable in variables(theirs.layers).items():
        variable.assign(values[name])
    x = photos(3, size).astype(np.float32) / 127.5 - 1
    features = tf_keras.Model(ours.input, ours.get_layer("out_relu").output)(x).numpy()
    expected = theirs(x, training=False).numpy()
    assert expected.std() > 0.1
    assert features.shape == expected.shape
    assert np.abs(features - expected).max() < TOLERANCE["mobilenet_v2"]


@pytest.fixture(scope="module")
def vgg_pair(tmp_path_factory):
    """Keras' VGG16 with random weights, and the file that Keras saves them in."""
    theirs = applications_vgg16(40)
    randomise(variables(theirs.layers))
    path = tmp_path_factory.mktemp("vgg") / "vgg16.h5"
    theirs.save_weights(path)
    return theirs, path


def test_vgg16_computes_what_keras_computes(vgg_pair) -> None:
    theirs, path = vgg_pair
    ours = build_network(recipe_of(40, "vgg16"), 10)
    assert shapes(backbone_layers(ours)) == shapes(theirs.layers)
    assert_numbered_alike(ours, theirs)
    assert start_index(ours, 15) == start_index(ours, "block5_conv1")
    load_backbone(ours, path, fold_caffe=False)
    x = photos(2, 40).astype(np.float32) / 127.5 - 1
    features = tf_keras.Model(ours.input, ours.get_layer("block5_pool").output)(x).numpy()
    expected = theirs(x, training=False).numpy()
    assert expected.std() > 0.01
    assert np.abs(features - expected).max() < TOLERANCE["vgg16"]


def test_vgg16_published_weights_take_rgb_less_115(vgg_pair) -> None:
    """Keras' BGR means are folded into the first convolution, exactly inside the image."""
    theirs, path = vgg_pair
    ours = build_network(recipe_of(40, "vgg16"), 10)
    load_backbone(ours, path, fold_caffe=True)
    pixels = photos(2, 40).astype(np.float32)
    bgr = tf_keras.applications.vgg16.preprocess_input(pixels.copy())
    # block3_conv1 sees 24 pixels: its middle is computed from the image's inside alone.
    expected = tf_keras.Model(theirs.input, theirs.get_layer("block3_conv1").output)(bgr).numpy()
    layer = ours.get_layer("block3_conv1_relu")
    found = tf_keras.Model(ours.input, layer.output)(pixels - 115.0).numpy()
    inside = (slice(None), slice(4, 6), slice(4, 6))
    assert expected[inside].std() > 1
    assert np.abs(found - expected)[inside].max() < TOLERANCE["caffe"]


@pytest.fixture(scope="module")
def network() -> tf_keras.Model:
    return build_network(recipe_of(32), 10)


@pytest.mark.parametrize(
    ("start", "first"),
    [
        ("Conv1", "Conv1"),
        ("block_1", "block_1_expand"),
        ("block_13_expand", "block_13_expand"),
        ("block_16_project_BN", "block_16_project_BN"),
        ("logits", "logits"),
        (1, "Conv1"),
        (5, "expanded_conv_depthwise_BN"),
        (0.0, "Conv1"),
        (1.0, "head_pool"),
    ],
)
def test_where_fine_tuning_starts(network, start: str | int | float, first: str) -> None:
    assert network.layers[start_index(network, start)].name == first


def test_a_share_freezes_that_much_of_the_backbone(network) -> None:
    index, count = start_index(network, 0.75), len(backbone_layers(network))
    assert index == 1 + round(0.75 * count)


@pytest.mark.parametrize("start", ["block_99", "block_1_exp", "", -1, 10_000])
def test_what_is_no_start(network, start: str | int) -> None:
    assert start_index(network, start) is None
