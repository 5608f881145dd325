"""The arithmetic of 8 bits: scales, zero points, and which outputs are rounded."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.images.preprocess import MEAN_STD, Preprocessing, normalise
from toolchain.quantization.graph import (
    IMAGE,
    Affine,
    Graph,
    Node,
    affine,
    input_affine,
    input_range,
    range_points,
    weight_scales,
)
from toolchain.quantization.snap import snap

GRAPH = Graph(
    8,
    (
        Node("conv1", "conv", (IMAGE,), 2),
        Node("relu1", "relu6", ("conv1",)),
        Node("deep", "depthwise", ("relu1",)),
        Node("relu2", "relu", ("deep",)),
        Node("project", "conv", ("relu2",)),
        Node("add", "add", ("relu1", "project")),
        Node("both", "conv", ("add",)),
        Node("relu3", "relu", ("both",)),
        Node("sum", "add", ("both", "relu3")),
        Node("pool", "max_pool", ("sum",), 2, "valid"),
        Node("mean", "mean", ("pool",)),
        Node("logits", "dense", ("mean",)),
    ),
    {},
)


def test_what_gets_eight_bits_of_its_own() -> None:
    """Not a convolution that only feeds an activation, nor what passes values on."""
    assert range_points(GRAPH) == [
        IMAGE,
        "relu1",
        "relu2",
        "project",
        "add",
        "both",
        "relu3",
        "sum",
        "mean",
        "logits",
    ]


@pytest.mark.parametrize("pool", ["max", "flatten"])
def test_a_head_that_passes_values_on_has_the_range_of_its_input(pool: str) -> None:
    nodes = (*GRAPH.nodes[:10], Node("head", pool, ("pool",)), Node("logits", "dense", ("head",)))
    graph = Graph(8, nodes, {})
    assert range_points(graph)[-2:] == ["sum", "logits"]
    ranges = {name: Affine(0.1 * i + 0.1, i) for i, name in enumerate(range_points(graph))}
    assert input_range(graph, ranges, nodes[-1]) == ranges["sum"]


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 6.0), (-1.0, 1.0), (-50.0, 3.0), (2.0, 5.0), (-3.0, -1.0), (0.0, 0.0)]
)
def test_a_range_holds_zero_exactly_and_its_ends_within_a_step(low: float, high: float) -> None:
    point = affine(low, high)
    assert 0 <= point.zero_point <= 255
    assert point.low <= 0.0 <= point.high
    assert point.low <= min(low, 0) + point.scale
    assert point.high >= max(high, 0) - point.scale
    assert point.scale == np.float32(point.scale)
    assert point.low == -point.zero_point * point.scale


ALL_PIXELS = np.arange(256, dtype=np.uint8)


def stored(values: np.ndarray, point: Affine, mode) -> np.ndarray:
    return np.clip(mode(values.astype(np.float64) / point.scale) + point.zero_point, 0, 255)


@pytest.mark.parametrize("pixels", MEAN_STD)
def test_the_stored_input_is_the_raw_pixel_and_far_from_a_tie(pixels: str) -> None:
    """So a client that quantizes, a graph that does, and one that takes bytes agree."""
    way = Preprocessing.of(pixels, 32)
    point = input_affine(way.mean, way.std)
    values = normalise(ALL_PIXELS, way)
    exact = values.astype(np.float64) / point.scale + point.zero_point
    assert np.abs(exact - ALL_PIXELS).max() < 1e-3


def test_a_depthwise_kernel_uses_all_its_bits() -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 3, 5, 1)).astype(np.float32)
    expected = np.abs(kernel).max(axis=(0, 1, 3)) * (1 + 2**-18) / 127
    assert weight_scales(kernel, "depthwise", np.zeros(5), 1.0) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("op", "shape"), [("conv", (3, 3, 3, 7)), ("conv", (1, 1, 16, 7)), ("dense", (31, 7))]
)
def test_neighbouring_products_fit_16_bits_whatever_the_image(op: str, shape) -> None:
    """VPMADDUBSW of x86 without VNNI: uint8 * int8 of two neighbours, added in int16."""
    kernel = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    kernel.reshape(-1, 7)[4:6, 2] = 5  # two large neighbours
    scales = weight_scales(kernel, op, np.zeros(7), 1.0)
    stored = np.round(kernel.reshape(-1, 7) / scales).astype(np.int64)
    stored = np.pad(stored, ((0, len(stored) % 2), (0, 0)))
    for sign in (1, -1):
        # The worst image: 255 under every kernel value of one sign, 0 under the others.
        products = np.maximum(sign * stored, 0) * 255
        assert products.reshape(-1, 2, 7).sum(axis=1).max() <= 32_767
    assert np.abs(stored).max() <= 127
    # More than the seven bits of halved weights are used, by a dense kernel in some channel.
    used = np.abs(stored).max(axis=0)
    assert used[2] >= 63 if op == "dense" else np.delete(used, 2).min() > 64
    assert op != "dense" or len(np.unique(scales)) == 1


def test_a_channel_of_zeros_has_a_scale() -> None:
    scales = weight_scales(np.zeros((1, 1, 2, 3), np.float32), "conv", np.zeros(3), 1.0)
    assert scales.shape == (3,)
    assert (scales > 0).all()


def test_biases_lie_on_the_grid_of_the_integer_runtimes() -> None:
    random = np.random.default_rng(1)
    nodes = (Node("conv1", "conv", (IMAGE,)), Node("relu1", "relu6", ("conv1",)))
    kernel = random.normal(size=(1, 1, 3, 4)).astype(np.float32)
    bias = random.normal(size=4).astype(np.float32)
    graph = Graph(4, nodes, {"conv1/kernel": kernel, "conv1/bias": bias})
    ranges = {IMAGE: Affine(1 / 128, 128), "relu1": Affine(6 / 255, 0)}
    snapped = snap(graph, ranges).arrays["conv1/bias"]
    steps = weight_scales(kernel, "conv", bias, 1 / 128) / 128
    assert np.abs(snapped / steps - np.round(snapped / steps)).max() < 1e-3
    assert (np.abs(snapped - bias) <= steps / 2 + 1e-7).all()
