"""Layers that stay float in files of integers: those that were named, and no others."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from four_layers import (
    CLASSES,
    EXAMPLES,
    PIXELS,
    TOLERANCE,
    WAY,
    answers,
    contract_of,
    network,
    prepare,
    written,
)
from networks import recipe_of, softmax

from toolchain.errors import ExitCode, GateError
from toolchain.export.onnx_forms import rewritten
from toolchain.images.preprocess import normalise
from toolchain.inspection import check_portable, check_promise, inspect_file, optimised_ops
from toolchain.inspection.scheme import float_layers
from toolchain.quantization.calibrate import calibrate
from toolchain.quantization.graph import Affine, Graph, range_points, ranges_of
from toolchain.quantization.integers import IntegerNetwork
from toolchain.quantization.preserved import compressed, ties_of
from toolchain.quantization.qat import get_arrays, kernel_variables, qat_model
from toolchain.quantization.sensitivity import sensitivity
from toolchain.quantization.snap import snap
from toolchain.recipe.layers import layers_of
from toolchain.recipe.sections import ONNX_FORMS, CompressSection
from toolchain.runtimes import open_runner
from toolchain.training.network import build_network

LAYERS = ("conv", "deep", "project", "logits")
SKIPS = [("conv",), ("project",), ("deep", "project"), ("logits",), ("deep", "logits")]


@pytest.fixture(scope="module")
def ranges() -> dict[str, Affine]:
    return calibrate(network(), EXAMPLES, prepare, WAY, "minmax")


def skipping(ranges: dict[str, Affine], names: tuple[str, ...]) -> tuple[Graph, dict[str, Affine]]:
    graph = network().keep_float(names)
    needed = ranges_of(graph, ranges)
    return snap(graph, needed), needed


@pytest.mark.parametrize(
    ("kind", "names"),
    # Conversions cost a second each.
    [("onnx", names) for names in SKIPS] + [("tflite", names) for names in (SKIPS[0], SKIPS[4])],
)
def test_the_named_layers_are_float_in_the_file_and_all_others_integer(
    ranges, names: tuple[str, ...], kind: str, tmp_path: Path
) -> None:
    graph, needed = skipping(ranges, names)
    path = written(tmp_path, kind, graph, needed)
    inspection = inspect_file(path)
    kinds = [op.weights for op in inspection.layers()]
    assert kinds == ["float32" if name in names else "int8" for name in LAYERS]
    assert all(len(found) == 1 for found in float_layers(inspection, names).values())
    check_promise(inspection, "int8-qat", names)
    check_portable(inspection)
    expected = softmax(IntegerNetwork(graph, needed)(normalise(PIXELS, WAY)).numpy())
    found = answers(path)
    assert len(np.unique(found.round(2))) > 20
    assert np.abs(found - expected).max() < TOLERANCE
    if kind == "onnx":
        ops = optimised_ops(path)
        assert ops["QLinearConv"] == sum(name not in names for name in LAYERS[:3])


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_a_float_layer_that_nobody_named_is_refused(ranges, kind: str, tmp_path: Path) -> None:
    inspection = inspect_file(written(tmp_path, kind, *skipping(ranges, ("deep", "project"))))
    with pytest.raises(GateError, match=r"1 of 4 layers have .*: .*project") as caught:
        check_promise(inspection, "int8-qat", ("deep",))
    assert caught.value.exit_code == ExitCode.GATE
    with pytest.raises(GateError, match="2 of 4 layers"):
        check_promise(inspection, "int8-qat")
    with pytest.raises(GateError, match="conv computes in float, which the file does not bear out"):
        check_promise(inspection, "int8-qat", ("conv", "deep", "project"))


def test_a_float_layer_computes_what_it_would_without_any_integers(ranges) -> None:
    """Its own answer is not rounded where only float layers read it; its input still is."""
    images = normalise(PIXELS, WAY)
    graph, needed = skipping(ranges, ("logits",))
    assert "logits" not in needed
    steps = np.unique(qat_model(graph, needed)(images, training=False).numpy())
    rounded, every = skipping(ranges, ())
    coarse = qat_model(rounded, every)(images, training=False).numpy() / every["logits"].scale
    assert np.abs(coarse - coarse.round()).max() < 1e-2
    exact = steps / every["logits"].scale
    assert np.abs(exact - exact.round()).max() > 0.3


@pytest.mark.parametrize("names", list(itertools.combinations(LAYERS, 2)), ids=",".join)
def test_eight_bits_are_where_an_integer_layer_reads_or_writes(names: tuple[str, ...]) -> None:
    graph = network().keep_float(names)
    kept = set(range_points(graph))
    assert graph.float_layers() == tuple(name for name in LAYERS if name in names)
    one_by_one = network().keep_float(names[:1]).keep_float(names[1:])
    assert graph.nodes == one_by_one.nodes
    assert kept >= {"image", "conv_relu", "sum"}, "a sum with an integer layer beside it"
    assert ("deep_relu" in kept) == (set(names) != {"deep", "project"})
    assert ("logits" in kept) == ("logits" not in names)


def test_all_around_a_sum_float_makes_the_sum_float() -> None:
    graph = network().keep_float(LAYERS)
    assert all(node.is_float for node in graph.nodes)
    assert range_points(graph) == ["image"]
    assert range_points(network()) == [
        "image",
        "conv_relu",
        "deep_relu",
        "project",
        "sum",
        "logits",
    ]


def test_a_float_layer_trains_and_has_no_rounding_noise(ranges) -> None:
    graph, needed = skipping(ranges, ("deep",))
    model = qat_model(graph, needed)
    assert get_arrays(model).keys() == graph.arrays.keys()
    assert len(model.trainable_variables) == len(graph.arrays)
    found = sensitivity(graph, needed, EXAMPLES, prepare)
    assert [one.layer for one in found.layers] == ["conv", "project", "logits"]


@pytest.mark.parametrize(
    ("backbone", "changes"),
    [
        ("mobilenet_v2", {}),
        ("vgg16", {"head": {"dense": [8, 4], "batch_norm": "after"}}),
        ("cnn", {"blocks": [4, 8], "head": {"dense": [8]}}),
    ],
)
def test_a_recipe_knows_the_layers_of_its_network(backbone: str, changes: dict[str, Any]) -> None:
    recipe = recipe_of(32, backbone, model=changes)
    layers = build_network(recipe, CLASSES).layers
    kernels = ("kernel", "depthwise_kernel")
    built = [one.name for one in layers if any(hasattr(one, name) for name in kernels)]
    assert layers_of(recipe, len(recipe.model.blocks)) == built


@pytest.mark.parametrize("names", [(), ("project", "deep")])
def test_what_compression_left_is_kept_in_float_layers_too(ranges, names: tuple[str, ...]) -> None:
    graph, needed = skipping(ranges, names)
    model = qat_model(graph, needed)
    ties = ties_of(model, graph, CompressSection(sparsity=0.5))
    kept = kernel_variables(model)
    assert [id(one) for one in ties.kernels] == [
        id(kept[name]) for name in ("conv", "project", "logits")
    ]
    # Told is what is left in the integers.
    integers = 3 - ("project" in names)
    told = compressed(graph, needed, CompressSection(sparsity=0.5))
    assert f"of {integers} kernels" in told


@pytest.mark.parametrize("form", ONNX_FORMS)
def test_every_form_of_the_onnx_file_keeps_them_float(ranges, form: str, tmp_path: Path) -> None:
    graph, needed = skipping(ranges, ("deep", "project"))
    path = written(tmp_path, "onnx", graph, needed)
    path.write_bytes(rewritten(path.read_bytes(), form))
    check_promise(inspect_file(path), "int8-qat", graph.float_layers())


def test_the_contract_in_the_file_names_them(ranges, tmp_path: Path) -> None:
    path = written(tmp_path, "onnx", *skipping(ranges, ("deep",)))
    assert open_runner(path).contract == replace(contract_of(()), float_layers=("deep",))
