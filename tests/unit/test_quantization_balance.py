"""Sharing weights between two dense layers: the same function, easier to round."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from toolchain.quantization.balance import balance
from toolchain.quantization.graph import Graph, Node

UNITS = 32
NODES = (
    Node("features", "flatten", ("image",)),
    Node("hidden", "dense", ("features",)),
    Node("hidden_relu", "relu", ("hidden",)),
    Node("logits", "dense", ("hidden_relu",)),
)


@pytest.fixture
def graph() -> Graph:
    """A unit in four is small where it is computed and large where it is read."""
    random = np.random.default_rng(0)
    rows = np.where(np.arange(UNITS) % 4, 0.01, 10.0)
    arrays = {
        "hidden/kernel": random.normal(size=(12, UNITS)) * 0.1 / rows,
        "hidden/bias": random.normal(size=UNITS) * 0.1 / rows,
        "logits/kernel": random.normal(size=(UNITS, 5)) * rows[:, None],
        "logits/bias": random.normal(size=5),
    }
    return Graph(2, NODES, {name: array.astype(np.float32) for name, array in arrays.items()})


def logits(graph: Graph) -> np.ndarray:
    one = graph.arrays
    images = np.random.default_rng(1).normal(size=(64, 12)).astype(np.float32)
    hidden = np.maximum(images @ one["hidden/kernel"] + one["hidden/bias"], 0)
    return hidden @ one["logits/kernel"] + one["logits/bias"]


def lost_to_rounding(graph: Graph) -> float:
    """The mean error of the logits when every dense kernel is stored in 8 bits with one scale."""
    arrays = dict(graph.arrays)
    for name in ("hidden/kernel", "logits/kernel"):
        scale = np.abs(arrays[name]).max() / 127
        arrays[name] = (np.round(arrays[name] / scale) * scale).astype(np.float32)
    return float(np.abs(logits(graph.with_arrays(arrays)) - logits(graph)).mean())


def test_floats_are_the_same_to_the_last_bit(graph: Graph) -> None:
    balanced = balance(graph, "logits")
    assert not np.array_equal(balanced.arrays["hidden/kernel"], graph.arrays["hidden/kernel"])
    np.testing.assert_array_equal(logits(balanced), logits(graph))
    assert {array.dtype for array in balanced.arrays.values()} == {np.dtype(np.float32)}


def test_units_are_as_large_where_they_are_read_as_where_they_are_computed(graph: Graph) -> None:
    arrays = balance(graph, "logits").arrays
    read = np.abs(arrays["logits/kernel"]).max(axis=1)
    computed = np.maximum(
        np.abs(arrays["hidden/kernel"]).max(axis=0), np.abs(arrays["hidden/bias"])
    )
    assert np.abs(np.log2(read / computed)).max() <= 1


def test_eight_bits_lose_less(graph: Graph) -> None:
    assert lost_to_rounding(balance(graph, "logits")) < 0.4 * lost_to_rounding(graph)


def test_units_without_weights_stay_as_they_are(graph: Graph) -> None:
    for name, unit in (("hidden/kernel", np.s_[:, 0]), ("logits/kernel", np.s_[1, :])):
        graph.arrays[name][unit] = 0
    graph.arrays["hidden/bias"][0] = 0
    balanced = balance(graph, "logits")
    assert all(np.isfinite(array).all() for array in balanced.arrays.values())
    np.testing.assert_array_equal(logits(balanced), logits(graph))
    for name, unit in (("logits/kernel", np.s_[0, :]), ("hidden/kernel", np.s_[:, 1])):
        np.testing.assert_array_equal(balanced.arrays[name][unit], graph.arrays[name][unit])


@pytest.mark.parametrize(
    "nodes",
    [
        (*NODES[:2], replace(NODES[2], op="relu6"), NODES[3]),
        (*NODES, Node("second", "dense", ("hidden_relu",))),
        (*NODES, Node("second", "dense", ("hidden",))),
        (NODES[0], replace(NODES[1], op="conv"), *NODES[2:]),
        (NODES[0], replace(NODES[3], inputs=("features",))),
        (replace(NODES[3], inputs=("image",)),),
    ],
    ids=["relu6", "relu read twice", "dense read twice", "behind conv", "no relu", "image"],
)
def test_what_does_not_read_a_dense_layer_of_its_own_through_relu_is_left_alone(
    graph: Graph, nodes: tuple[Node, ...]
) -> None:
    other = replace(graph, nodes=nodes)
    assert balance(other, "logits") is other
