"""Folding changes what is written down, not what is computed."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras
from networks import photos, random_network, recipe_of
from tf_keras import layers

from toolchain.errors import ModelError
from toolchain.quantization.fold import fold, to_keras
from toolchain.quantization.graph import IMAGE

# Against logits of about 1.
TOLERANCE = 1e-4

HEADS = [
    {"pool": "avg"},
    {"pool": "max", "dense": [16]},
    {"pool": "flatten", "dense": [16, 8], "dropout": 0.5},
]


@pytest.mark.parametrize("size", [32, 49])
@pytest.mark.parametrize("head", HEADS, ids=lambda head: head["pool"])
def test_a_folded_mobilenet_computes_the_same(head: dict, size: int) -> None:
    network = random_network(recipe_of(size, model={"head": head}))
    graph = fold(network)
    x = photos(4, size).astype(np.float32) / 127.5 - 1
    expected = network(x, training=False).numpy()
    assert expected.std() > 0.05
    assert np.abs(to_keras(graph)(x).numpy() - expected).max() < TOLERANCE
    assert {node.op for node in graph.nodes} <= {
        "conv", "depthwise", "relu6", "relu", "add", "mean", "max", "flatten", "dense"
    }  # fmt: skip


@pytest.mark.parametrize("size", [32, 41])
@pytest.mark.parametrize("head", HEADS, ids=lambda head: head["pool"])
def test_a_folded_vgg_computes_the_same(small_vgg_network, head: dict, size: int) -> None:
    network = random_network(recipe_of(size, "vgg16", model={"head": head}))
    x = photos(4, size).astype(np.float32) - 115
    expected = network(x, training=False).numpy()
    found = to_keras(fold(network))(x).numpy()
    assert np.abs(found - expected).max() < TOLERANCE * max(1.0, np.abs(expected).max())


def test_the_graph_reads_only_what_came_before() -> None:
    graph = fold(random_network(recipe_of(32)))
    known = {IMAGE}
    for node in graph.nodes:
        assert set(node.inputs) <= known
        known.add(node.name)
    assert graph.nodes[-1].name == "logits"
    assert set(graph.arrays) == {
        f"{node.name}/{part}"
        for node in graph.nodes
        if node.op in ("conv", "depthwise", "dense")
        for part in ("kernel", "bias")
    }


def test_a_layer_that_no_exporter_knows_is_refused_by_name() -> None:
    image = layers.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, name="Conv1")(image)
    model = tf_keras.Model(image, layers.LeakyReLU(name="leaky")(x))
    with pytest.raises(ModelError, match="LeakyReLU") as caught:
        fold(model)
    assert caught.value.where == "leaky"
