"""Falling back to float: the spoiled layer is found, no more is given up than the gate asks for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from four_layers import EXAMPLES, PIXELS, WAY, network, prepare

from toolchain.evidence import LayerError
from toolchain.images.preprocess import normalise
from toolchain.quantization import stage
from toolchain.quantization.calibrate import calibrate
from toolchain.quantization.float_layers import Gate, cost, fall_back
from toolchain.quantization.fold import to_keras
from toolchain.quantization.graph import Affine, Graph, affine
from toolchain.quantization.sensitivity import sensitivity
from toolchain.quantization.stage import quantize_model, quantized_graph
from toolchain.recipe.sections import VerifySection
from toolchain.values import Dataset

ERRORS = tuple(
    LayerError(name, "conv", decibels, decibels)
    for name, decibels in (("project", 9.0), ("conv", 20.0), ("logits", 30.0), ("deep", 40.0))
)


def counted(needed: set[str], seen: list[tuple[str, ...]]):
    """100 photos right once these layers are float, ten fewer for each that is not."""

    def right(graph: Graph) -> int:
        seen.append(graph.float_layers())
        return 100 - 10 * len(needed - set(graph.float_layers()))

    return right


def test_layers_fall_back_one_by_one_the_worst_first_until_the_gate_holds() -> None:
    seen: list[tuple[str, ...]] = []
    gate = Gate(200, 100, 0.5)
    found = fall_back(network(), ERRORS, 4, counted({"conv", "project"}, seen), gate)
    assert seen == [(), ("project",), ("conv", "project")]
    assert (found.graph.float_layers(), found.right) == (("conv", "project"), 100)
    assert "20 fewer are right than in float" in found.story
    assert "with conv, project kept float as many are right as in float" in found.story


def test_a_gate_that_holds_costs_nothing() -> None:
    seen: list[tuple[str, ...]] = []
    graph = network()
    found = fall_back(graph, ERRORS, 4, counted({"conv"}, seen), Gate(200, 100, 5.0))
    assert seen == [()]
    assert found.graph is graph
    assert (found.right, found.story) == (90, "")


def test_float_layers_that_do_not_help_are_not_kept() -> None:
    """Used up without success, the fewest layers of the most accurate try remain."""
    seen: list[tuple[str, ...]] = []
    gate = Gate(200, 100, 0.0)
    found = fall_back(network(), ERRORS, 3, counted({"project", "deep"}, seen), gate)
    assert len(seen) == 4
    assert found.graph.float_layers() == ("project",)
    end = "10 fewer are right than in float, which is still more than the gate allows"
    assert found.story.endswith(end)


def test_more_right_than_in_float_is_told_as_that() -> None:
    told = fall_back(network(), ERRORS, 1, counted({"project"}, []), Gate(200, 97, 0.5)).story
    assert told.endswith("with project kept float 3 more are right than in float")


def test_layers_that_are_float_already_do_not_count_and_fixed_ones_stay() -> None:
    seen: list[tuple[str, ...]] = []
    asked = network().keep_float(["project"])
    fall_back(asked, ERRORS, 2, counted({"none"}, seen), Gate(200, 100, 0.0), ("logits",))
    assert seen == [("project",), ("conv", "project"), ("conv", "deep", "project")]


def test_the_gate_is_that_of_verify() -> None:
    section = VerifySection(accuracy_drop=1.0, ptq_accuracy_drop=2.0)
    assert (section.points_lost("int8-qat"), section.points_lost("int8-ptq")) == (1.0, 2.0)
    gate = Gate(300, 290, section.points_lost("int8-qat"))
    assert gate.holds(287)
    assert not gate.holds(286)


@pytest.fixture(scope="module")
def ranges() -> dict[str, Affine]:
    return calibrate(network(), EXAMPLES, prepare, WAY, "minmax")


def agreeing(graph: Graph, ranges: dict[str, Affine]):
    """Counts the photos that a rounded graph calls as the float one does."""
    truth = to_keras(graph)(normalise(PIXELS, WAY)).numpy().argmax(axis=1)
    examples = replace(EXAMPLES, labels=truth)
    judge = stage._Judge(graph, ranges, examples, prepare, ())
    return judge._rounded_right, Gate(len(PIXELS), judge._right(to_keras(graph)), 5.0)


def test_a_kernel_with_an_outlier_falls_back_alone(ranges) -> None:
    """The outlier meets a channel that is always 0: in float it changes nothing."""
    arrays = {name: value.copy() for name, value in network().arrays.items()}
    arrays["deep/kernel"][:, :, 0] = 0
    arrays["deep/bias"][0] = -1
    arrays["project/kernel"][:, :, 0, :] = 3000
    graph = network().with_arrays(arrays)
    ranges = calibrate(graph, EXAMPLES, prepare, WAY, "minmax")
    errors = sensitivity(graph, ranges, EXAMPLES, prepare)
    assert errors.worst()[0].layer == "project"
    right, gate = agreeing(graph, ranges)
    found = fall_back(graph, errors.worst(), 3, right, gate)
    assert found.graph.float_layers() == ("project",)
    assert gate.holds(found.right)
    assert "fewer are right than in float" in found.story


def test_a_range_with_an_outlier_takes_the_readers_along(ranges) -> None:
    """Of 8 bits a hundred times too wide nothing is left; float alone would still write them."""
    wide = ranges | {"deep_relu": affine(0.0, 500.0)}
    errors = sensitivity(network(), wide, EXAMPLES, prepare)
    worst = errors.worst()[0]
    assert worst.layer == "deep"
    assert worst.kernel_db - worst.sqnr_db > 20
    right, gate = agreeing(network(), wide)
    found = fall_back(network(), errors.worst(), 2, right, gate)
    assert found.graph.float_layers() == ("deep", "project")
    assert gate.holds(found.right)
    assert not gate.holds(right(network().keep_float(["deep"])))


def test_the_cost_is_told_in_work_and_bytes() -> None:
    """project: 64 weights at 144 places; 216 of conv, 72 of deep; a dense layer at one place."""
    work = {"conv": 216 * 144, "deep": 72 * 144, "project": 64 * 144, "logits": 864}
    share = 100 * work["project"] / sum(work.values())
    told = cost(network().keep_float(["project"]))
    assert told == (
        f"1 of 4 layers float (project): {share:.1f} % of the multiply-adds, 0.000 MB more a file"
    )
    assert cost(network()) == ""


@pytest.mark.usefixtures("small_vgg_network")
def test_the_stage_decides_on_validation_photos_and_keeps_what_it_decided(
    small_vgg_run, tmp_path, monkeypatch
) -> None:
    """A planted kernel: the run's own float accuracy is met again, with its one layer float."""
    run, seen = small_vgg_run, set()
    spoiled = "block3_conv1"
    real = stage.folded

    def planted(trained, recipe) -> Graph:
        graph = real(trained, recipe)
        kernel = graph.arrays[f"{spoiled}/kernel"].copy()
        reading = graph.arrays["block4_conv1/kernel"].copy()
        # One channel 500 times too loud that the next layer listens to 500 times less.
        kernel[:, :, :, 0] *= 500
        reading[:, :, 0, :] /= 500
        bias = graph.arrays[f"{spoiled}/bias"].copy()
        bias[0] *= 500
        changed = {
            f"{spoiled}/kernel": kernel,
            f"{spoiled}/bias": bias,
            "block4_conv1/kernel": reading,
        }
        return graph.with_arrays(graph.arrays | changed)

    def watched(dataset, split):
        seen.add(split)
        return indices(dataset, split)

    indices = Dataset.indices
    monkeypatch.setattr(Dataset, "indices", watched)
    monkeypatch.setattr(stage, "folded", planted)
    quantize = replace(run.recipe.quantize, fallback=3, ranges="minmax")
    recipe = replace(
        run.recipe,
        quantize=quantize,
        export=replace(run.recipe.export, precisions=("fp32", "int8-ptq")),
        verify=replace(run.recipe.verify, ptq_accuracy_drop=1.0),
    )
    quantized = quantize_model(run.trained, run.dataset, recipe, tmp_path)
    kept = quantized.integers["int8-ptq"]
    assert spoiled in kept.float_layers
    assert len(kept.float_layers) <= 3
    before = quantized.history[0].validation_accuracy
    assert kept.validation_accuracy > before + 0.05
    assert any(spoiled in note and "multiply-adds" in note for note in quantized.notes)
    graph, _ = quantized_graph(planted(run.trained, recipe), quantized, "int8-ptq")
    assert graph.float_layers() == kept.float_layers
    assert seen == {"train", "validation"}
