"""The basic network goes the way of every backbone: trained, rounded, written, explained."""

from __future__ import annotations

import numpy as np
import pytest
from networks import recipe_of, softmax

from toolchain.data.stage import build_dataset
from toolchain.evidence import Sensitivity
from toolchain.export.reference import explain
from toolchain.export.stage import export_models
from toolchain.inspection.onnx import optimised_ops
from toolchain.quantization.integers import IntegerNetwork
from toolchain.quantization.stage import folded, quantize_model, quantized_graph
from toolchain.runtimes import open_runner
from toolchain.training.inference import Inference
from toolchain.training.stage import pixel_examples, preparation, train_model

# Chance is 0.1.
LEAST_ACCURACY = 0.5
# File against the same integers: the mean difference of a probability.
DIFFERENCE = 1e-6
RECIPE = recipe_of(
    32,
    "cnn",
    model={"blocks": [4, 8], "head": {"pool": "flatten", "dense": [16], "dropout": [0.1, 0.1]}},
    train={"epochs": 2, "learning_rate": 1e-2, "batch_size": 64},
    quantize={"epochs": 1, "calibration_images": 64},
    export={"precisions": ["int8-qat"]},
)


def test_from_training_to_files_that_answer_as_the_simulation(tmp_path) -> None:
    pytest.importorskip("sklearn")
    folders = [tmp_path / name for name in ("train", "quantize", "export", "data")]
    for folder in folders:
        folder.mkdir()
    dataset = build_dataset(RECIPE, folders[3])
    trained = train_model(dataset, RECIPE, folders[0])
    assert "backbone from random weights" in trained.notes
    quantized = quantize_model(trained, dataset, RECIPE, folders[1])
    assert quantized.history[quantized.best].validation_accuracy > LEAST_ACCURACY
    layers = [one.layer for one in Sensitivity.load(folders[1]).layers]
    assert layers == ["block1_conv1", "block2_conv1", "head_dense_1", "logits"]
    files = export_models(trained, quantized, dataset, RECIPE, {}, folders[2])
    assert set(files) == {"tiny.int8-qat.tflite", "tiny.int8-qat.onnx"}
    assert optimised_ops(folders[2] / "tiny.int8-qat.onnx")["QLinearConv"] == 2

    model = IntegerNetwork(*quantized_graph(folded(trained, RECIPE), quantized, "int8-qat"))
    test = pixel_examples(dataset, "test")
    expected = softmax(Inference(model, preparation(RECIPE)).logits(test, "test"))
    for name in files:
        found = open_runner(folders[2] / name).run(np.asarray(dataset.pixels()[test.rows]))
        assert np.abs(found - expected).mean() < DIFFERENCE
    maps = explain(trained, dataset, test.rows[:2], expected[:2], RECIPE)
    assert maps.layer == "block2_conv1_relu"
