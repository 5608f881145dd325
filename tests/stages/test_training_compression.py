"""Pruning and clustering: what they make of kernels, and that training leaves it so to the file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import tensorflow as tf
import tf_keras
from networks import recipe_of
from onnx import numpy_helper
from test_training_checkpoint import STEPS, kept_in, stopped_after
from test_training_fit import PLAN, blobs, model_of, weights_of

from toolchain.data.stage import build_dataset
from toolchain.export.stage import export_models
from toolchain.quantization.stage import quantize_model
from toolchain.training.compression import Ties, cluster, clustered, kernels_of
from toolchain.training.fit import fit
from toolchain.training.plan import Plan
from toolchain.training.stage import train_model
from toolchain.training.weights import read_safetensors

EPOCHS = 4
KERNEL = np.random.default_rng(0).normal(size=(3, 3, 8, 16)).astype(np.float32)


@pytest.mark.parametrize("clusters", [2, 5, 16])
def test_a_clustered_kernel_has_the_means_of_its_weights(clusters: int) -> None:
    found = clustered(KERNEL, clusters)
    values = np.unique(found)
    assert 0.9 * clusters < len(values) <= clusters
    nearest = np.abs(KERNEL.reshape(-1, 1) - values).argmin(axis=1).reshape(KERNEL.shape)
    for place, value in enumerate(values):
        own = KERNEL[nearest == place]
        assert value == pytest.approx(own.mean(), abs=0.02)
    even = np.linspace(KERNEL.min(), KERNEL.max(), clusters)
    evenly = even[np.abs(KERNEL[..., None] - even).argmin(axis=-1)]
    assert np.square(found - KERNEL).mean() < np.square(evenly - KERNEL).mean()


def test_zeros_of_a_pruned_kernel_are_one_of_the_values() -> None:
    pruned = np.where(np.abs(KERNEL) < 0.7, 0, KERNEL)
    found = clustered(pruned, 4)
    assert np.array_equal(found == 0, pruned == 0)
    assert len(np.unique(found)) == 4


@pytest.mark.parametrize("kernel", [np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)])
def test_kernels_of_one_value_stay(kernel: np.ndarray) -> None:
    assert np.array_equal(clustered(kernel, 8), kernel)


def test_zeros_come_fast_at_first_and_all_by_the_end_of_the_ramp() -> None:
    ties = Ties([], sparsity=0.8, ramp=2)
    shares = [ties.share(done) for done in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)]
    assert shares[0] == 0
    assert shares[-2:] == [0.8, 0.8]
    gains = np.diff(shares[:-1])
    assert (gains > 0).all() and (np.diff(gains) < 0).all()


def pruning(model: tf_keras.Model, sparsity: float = 0.6) -> Plan:
    ties = Ties(kernels_of(model), sparsity=sparsity, ramp=2)
    return replace(PLAN, epochs=EPOCHS, ema=0.9, ties=ties, best_from=3)


def test_pruned_weights_stay_zero_through_training() -> None:
    model = model_of()
    before = weights_of(model)
    fitted = fit(model, blobs(), blobs(seed=1), pruning(model))
    assert fitted.history[fitted.best].epoch > 2
    assert weights_of(model) != before
    for kernel in kernels_of(model):
        zeros = int((kernel.numpy() == 0).sum())
        assert zeros == round(0.6 * kernel.shape.num_elements())


def test_equal_weights_stay_equal_and_are_trained() -> None:
    model = model_of()
    cluster(kernels_of(model), 4)
    before = [kernel.numpy() for kernel in kernels_of(model)]
    plan = replace(PLAN, epochs=2, ties=Ties(kernels_of(model), clustered=True))
    fit(model, blobs(), blobs(seed=1), plan)
    for kernel, old in zip(kernels_of(model), before, strict=True):
        new = kernel.numpy()
        assert not np.array_equal(new, old)
        for value in np.unique(old):
            assert len(np.unique(new[old == value])) == 1


def test_equal_within_a_channel_is_not_equal_between_channels() -> None:
    kernel = tf.Variable(np.float32([[1, 1, 0], [1, 2, 0], [3, 1, 5]]))
    ties = Ties([kernel], clustered=True, by_channel=True)
    before = ties.before()
    kernel.assign(np.float32([[2, 1, 7], [4, 2, 7], [9, 3, 6]]))
    ties.after(before)
    np.testing.assert_array_equal(kernel.numpy(), np.float32([[3, 2, 0], [3, 2, 0], [9, 2, 6]]))


def test_pruning_that_was_stopped_ends_in_the_same_weights(tmp_path) -> None:
    whole = model_of()
    expected = fit(whole, blobs(), blobs(seed=1), pruning(whole))
    stopped = model_of()
    stopped_after(STEPS + 3, pruning(stopped), kept_in(tmp_path), lambda: stopped)
    model = model_of()
    fitted = fit(model, blobs(), blobs(seed=1), pruning(model), kept_in(tmp_path))
    assert weights_of(model) == weights_of(whole)
    assert fitted.best == expected.best


def test_the_files_hold_what_was_asked_for(tmp_path) -> None:
    recipe = recipe_of(
        32,
        "cnn",
        data={"source": "digits", "limit": {"train": 96, "validation": 32, "test": 16}},
        model={"blocks": [8, 16], "head": {"dense": [16]}},
        train={"epochs": 1},
        compress={"sparsity": 0.5, "clusters": 6, "epochs": 2},
        quantize={"epochs": 1, "calibration_images": 64},
        export={"formats": ["onnx"], "precisions": ["int8-qat"]},
    )
    folders = [tmp_path / name for name in ("data", "train", "quantize", "export")]
    for folder in folders:
        folder.mkdir()
    dataset = build_dataset(recipe, folders[0])
    trained = train_model(dataset, recipe, folders[1])
    assert [record.phase for record in trained.history][-5:] == ["prune"] * 2 + ["cluster"] * 3
    assert any(note.startswith("compressed: 50.0%") for note in trained.notes)
    arrays = read_safetensors(folders[1] / "weights.safetensors")
    kernels = [value for name, value in arrays.items() if name.endswith("kernel")]
    assert all(len(np.unique(kernel)) <= 6 for kernel in kernels)
    quantized = quantize_model(trained, dataset, recipe, folders[2])
    assert any("compressed integers: 50" in note for note in quantized.notes)
    export_models(trained, quantized, dataset, recipe, {}, folders[3])
    model = onnx.load(str(folders[3] / "tiny.int8-qat.onnx"))
    stored = [numpy_helper.to_array(one) for one in model.graph.initializer]
    found = [array for array in stored if array.dtype == np.int8 and array.ndim > 1]
    assert len(found) == len(kernels)
    for array in found:
        channels = array if array.ndim == 4 else array.T
        assert np.mean(array == 0) >= 0.49
        assert max(len(np.unique(channel)) for channel in channels) <= 6
