"""Errors of single layers: the spoiled one is named, the others are not."""

from __future__ import annotations

import numpy as np
import pytest
from networks import photos, random_network, recipe_of

from toolchain.images.preprocess import Preprocessing
from toolchain.quantization.calibrate import calibrate
from toolchain.quantization.fold import fold
from toolchain.quantization.graph import Affine
from toolchain.quantization.sensitivity import sensitivity
from toolchain.training.batches import Examples
from toolchain.training.stage import preparation

SIZE = 33


class Case:
    def __init__(self) -> None:
        recipe = recipe_of(SIZE, "vgg16", model={"head": {"pool": "avg", "dense": [16]}})
        self.examples = Examples(photos(16, SIZE), np.zeros(16, np.int64), np.arange(16))
        self.prepare = preparation(recipe)
        self.way = Preprocessing.of(recipe.input.pixels, SIZE)
        self.graph = fold(random_network(recipe))

    def ranges(self, graph) -> dict[str, Affine]:
        return calibrate(graph, self.examples, self.prepare, self.way, "minmax")

    def decibels(self, graph, ranges) -> dict[str, float]:
        found = sensitivity(graph, ranges, self.examples, self.prepare)
        return {one.layer: one.sqnr_db for one in found.layers}


@pytest.fixture(scope="module")
def case(small_vgg_network) -> Case:
    return Case()


def test_a_kernel_with_outliers_is_the_worst(case: Case) -> None:
    """One value 100 times the others leaves these a step or none."""
    arrays = {name: value.copy() for name, value in case.graph.arrays.items()}
    arrays["block3_conv1/kernel"][0, 0, 0, :] *= 100
    spoiled = case.graph.with_arrays(arrays)
    found = case.decibels(spoiled, case.ranges(spoiled))
    assert list(found)[:2] == ["block1_conv1", "block2_conv1"]
    assert min(found, key=found.__getitem__) == "block3_conv1"


@pytest.mark.parametrize("layer", ["block2_conv2", "logits"])
def test_a_range_six_times_too_wide_costs_its_layer_alone(case: Case, layer: str) -> None:
    ranges = case.ranges(case.graph)
    before = case.decibels(case.graph, ranges)
    name = layer if layer in ranges else f"{layer}_relu"
    wide = ranges | {name: Affine(ranges[name].scale * 6, ranges[name].zero_point)}
    after = case.decibels(case.graph, wide)
    assert before[layer] - after[layer] > 3
    assert all(after[other] == before[other] for other in before if other != layer)
