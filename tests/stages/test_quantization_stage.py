"""The quantization stage: from train photos only, never worse than its start, saved as used."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from toolchain.contract import ExportedModel
from toolchain.errors import GateError
from toolchain.evidence import Sensitivity
from toolchain.export.reference import reference_probabilities
from toolchain.export.stage import export_models
from toolchain.files import sha256_file
from toolchain.quantization import stage
from toolchain.quantization.bias_correction import correct_biases, correction_images
from toolchain.quantization.graph import (
    IMAGE,
    Affine,
    affine,
    input_affine,
    range_points,
)
from toolchain.quantization.qat import qat_model
from toolchain.quantization.sample import calibration_rows
from toolchain.quantization.snap import snap
from toolchain.quantization.stage import drawn, folded, quantize_model, quantized_graph
from toolchain.recipe import Recipe
from toolchain.runtimes import read_contract
from toolchain.training.inference import Inference
from toolchain.training.stage import pixel_examples, preparation
from toolchain.training.weights import read_safetensors
from toolchain.values import QuantizedModel
from toolchain.verification import Photos, ask, verify

pytestmark = pytest.mark.usefixtures("small_vgg_network")

# Points of accuracy that 8 bits may cost a small network before any training.
LOST_AT_START = 0.05
# Biases move to the grid of the integer runtimes after the epoch was measured.
SNAPPED = 0.01


def with_training(recipe: Recipe, **changes: float) -> Recipe:
    return replace(recipe, quantize=replace(recipe.quantize, **changes))


def start_of(run, recipe: Recipe, ranges: dict[str, Affine]) -> dict[str, np.ndarray]:
    """The weights of the calibrated start: float kernels, biases corrected and on their grid."""
    graph, train = folded(run.trained, recipe), pixel_examples(run.dataset, "train")
    sample = drawn(train, recipe, correction_images(graph))
    corrected = correct_biases(graph, ranges, sample, preparation(recipe))
    kernels = [name for name in graph.arrays if name.endswith("/kernel")]
    assert all(np.array_equal(corrected.arrays[name], graph.arrays[name]) for name in kernels)
    return snap(corrected, ranges).arrays


def test_the_calibrated_start_is_measured_and_kept(small_vgg_run, calibrated_vgg) -> None:
    run, weighed = small_vgg_run, calibrated_vgg.weighed_on
    quantized = calibrated_vgg.quantized
    train, seed = pixel_examples(run.dataset, "train").rows, run.recipe.train.seed
    sample = calibration_rows(train, run.recipe.quantize.calibration_images, seed).tolist()
    assert set(weighed) < set(sample)
    # The first rows of a dataset that is read class by class are all of one class.
    assert max(weighed) > sample[len(weighed)]
    assert [record.epoch for record in quantized.history] == [0]
    float_accuracy = run.trained.history[run.trained.best].validation_accuracy
    assert quantized.history[0].validation_accuracy >= float_accuracy - LOST_AT_START
    assert QuantizedModel.load(quantized.folder) == quantized
    arrays = read_safetensors(quantized.folder / "weights.safetensors")
    graph, ranges = quantized_graph(folded(run.trained, run.recipe), quantized, "int8-qat")
    expected = start_of(run, run.recipe, ranges)
    assert all(np.array_equal(arrays[name], expected[name]) for name in expected)
    assert graph.arrays.keys() == expected.keys()


def test_int8_ptq_alone_is_calibrated_and_not_trained(small_vgg_run, tmp_path) -> None:
    run = small_vgg_run
    recipe = with_training(run.recipe, epochs=2)
    recipe = replace(recipe, export=replace(recipe.export, precisions=("fp32", "int8-ptq")))
    quantized = quantize_model(run.trained, run.dataset, recipe, tmp_path)
    assert [record.epoch for record in quantized.history] == [0]
    assert {path.name for path in tmp_path.iterdir()} == {
        "calibrated.safetensors",
        "quantized.json",
        "sensitivity.json",
    }
    graph, ranges = quantized_graph(folded(run.trained, recipe), quantized, "int8-ptq")
    expected = start_of(run, recipe, ranges)
    assert all(np.array_equal(graph.arrays[name], expected[name]) for name in expected)


@pytest.fixture(scope="module")
def an_epoch(small_vgg_network, small_vgg_run, tmp_path_factory) -> tuple[Recipe, QuantizedModel]:
    run = small_vgg_run
    recipe = with_training(run.recipe, epochs=1, learning_rate=1e-4)
    folder = tmp_path_factory.mktemp("an-epoch")
    return recipe, quantize_model(run.trained, run.dataset, recipe, folder)


def test_training_moves_the_weights_of_int8_qat_and_not_those_of_int8_ptq(
    small_vgg_run, an_epoch
) -> None:
    run, (recipe, quantized) = small_vgg_run, an_epoch
    start, ranges = quantized_graph(folded(run.trained, recipe), quantized, "int8-ptq")
    trained, same = quantized_graph(folded(run.trained, recipe), quantized, "int8-qat")
    assert ranges == same
    expected = start_of(run, recipe, ranges)
    assert all(np.array_equal(start.arrays[name], expected[name]) for name in expected)
    moved = [not np.array_equal(start.arrays[name], trained.arrays[name]) for name in expected]
    assert any(moved) == (quantized.best > 0)


def test_training_that_ruins_the_network_is_thrown_away(small_vgg_run, tmp_path) -> None:
    run = small_vgg_run
    recipe = with_training(run.recipe, epochs=2, learning_rate=1.0)
    quantized = quantize_model(run.trained, run.dataset, recipe, tmp_path)
    start, *later = quantized.history
    assert len(later) == 2
    assert max(record.validation_accuracy for record in later) < start.validation_accuracy
    assert quantized.best == 0
    assert any("none of 2 epochs was better than the calibrated" in one for one in quantized.notes)
    arrays = read_safetensors(tmp_path / "weights.safetensors")
    _, ranges = quantized_graph(folded(run.trained, recipe), quantized, "int8-qat")
    expected = start_of(run, recipe, ranges)
    assert all(np.array_equal(arrays[name], expected[name]) for name in expected)


class _Planned(Exception):
    pass


def test_a_closer_copy_with_more_mistakes_is_no_candidate(
    small_vgg_run, tmp_path, monkeypatch
) -> None:
    """With distillation epochs are chosen by loss, which must not lose more to float."""

    def planned(model, train, validation, plan, kept):
        raise _Planned(plan.best_by, plan.baseline, plan.never_below)

    monkeypatch.setattr(stage, "fit", planned)
    recipe = with_training(small_vgg_run.recipe, distillation=1.0, calibration_images=1)
    with pytest.raises(_Planned) as caught:
        quantize_model(small_vgg_run.trained, small_vgg_run.dataset, recipe, tmp_path)
    trained = small_vgg_run.trained
    accuracy = trained.history[trained.best].validation_accuracy
    assert caught.value.args == ("loss", True, accuracy)


def test_what_was_saved_computes_what_was_measured(small_vgg_run, an_epoch) -> None:
    run, (recipe, quantized) = small_vgg_run, an_epoch
    best = quantized.history[quantized.best]
    model = qat_model(*quantized_graph(folded(run.trained, recipe), quantized, "int8-qat"))
    validation = pixel_examples(run.dataset, "validation")
    _, accuracy = Inference(model, preparation(recipe)).evaluate(validation)
    assert accuracy == pytest.approx(best.validation_accuracy, abs=SNAPPED)
    assert best.validation_accuracy >= quantized.history[0].validation_accuracy


def test_calibration_sees_train_photos_alone(small_vgg_run, calibrated_vgg) -> None:
    seen = calibrated_vgg.calibrated_on
    assert len(seen) == len(set(seen)) == 100
    assert set(seen) <= set(small_vgg_run.dataset.indices("train").tolist())
    assert "100 training images" in calibrated_vgg.quantized.notes[0]


def left_at_six(graph, examples, prepare, preprocessing, method) -> dict[str, Affine]:
    names = [name for name in range_points(graph) if name != IMAGE]
    image = {IMAGE: input_affine(preprocessing.mean, preprocessing.std)}
    return image | dict.fromkeys(names, affine(-6.0, 6.0))


def test_ranges_left_at_six_are_caught_in_either_format(
    small_vgg_run, tmp_path, monkeypatch
) -> None:
    """Planted where ranges are found: the .tflite does what QAT did, and both lose the photos.

    onnxruntime cannot make a ReLU part of rounding to a range that has negative numbers.
    """
    run = small_vgg_run
    monkeypatch.setattr(stage, "calibrate", left_at_six)
    asked_for = replace(run.recipe.export, precisions=("fp32", "int8-qat"))
    recipe, of_onnx = (
        replace(run.recipe, export=replace(asked_for, formats=(one,))) for one in ("tflite", "onnx")
    )
    quantized = quantize_model(run.trained, run.dataset, recipe, tmp_path)
    files = tmp_path / "export"
    files.mkdir()
    with pytest.raises(GateError, match="integer and float parts that do not meet"):
        export_models(run.trained, quantized, run.dataset, of_onnx, {}, files)
    paths = [
        files / name
        for name in export_models(run.trained, quantized, run.dataset, recipe, {}, files)
    ]
    models = [ExportedModel(path, sha256_file(path), read_contract(path)) for path in paths]
    rows = run.dataset.indices("test")
    references = reference_probabilities(run.trained, quantized, run.dataset, rows, recipe)
    labels = run.dataset.label_array()[rows]
    photos = Photos(rows, tuple(run.dataset.names[row] for row in rows), labels)
    asked = ask(models, run.dataset.pixels().view(rows))
    found = verify(asked, references, photos, run.dataset.classes, recipe.verify)
    failures = {file.precision: file.failures for file in found.files}
    assert failures["fp32"] == ()
    (told,) = failures["int8-qat"]
    assert "verify.accuracy_drop" in told


def test_the_errors_of_layers_are_kept_and_the_worst_are_printed(digits_run) -> None:
    found = Sensitivity.load(digits_run.run.stage("quantize"))
    assert found.layers[0].layer == "Conv1"
    assert found.layers[-1].layer == "logits"
    assert all(10 < one.sqnr_db < 60 for one in found.layers)
    assert all(one.layer in digits_run.result.stderr for one in found.worst()[:5])


def test_the_run_of_the_digits_never_ended_below_its_start(digits_run) -> None:
    quantized = digits_run.quantized
    start, best = quantized.history[0], quantized.history[quantized.best]
    assert start.epoch == 0
    assert best.validation_accuracy >= start.validation_accuracy
