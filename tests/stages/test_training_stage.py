"""The training stage: both phases on real digits, what stays frozen, what is read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from networks import randomise, recipe_of

from toolchain.cli import stages
from toolchain.errors import MachineError, ModelError, RecipeError
from toolchain.files import sha256_file
from toolchain.quantization.stage import restore
from toolchain.run import Run
from toolchain.training import features
from toolchain.training import fit as loop
from toolchain.training import stage as training_stage
from toolchain.training.network import backbone_layers, build_network
from toolchain.training.stage import train_model
from toolchain.training.weights import arrays_of, read_safetensors, save_weights, variables
from toolchain.unfinished import Unfinished
from toolchain.values import TrainedModel

pytestmark = pytest.mark.usefixtures("small_vgg_network")

LEAST_ACCURACY = 0.6
# Float32 sums in another order, after two epochs and one.
TOLERANCE = 1e-4


def test_a_network_from_random_weights_learns_the_digits(small_vgg_run) -> None:
    trained = small_vgg_run.trained
    best = trained.history[trained.best]
    assert best.validation_accuracy > LEAST_ACCURACY
    assert {record.phase for record in trained.history} == {"train"}
    assert trained.classes == tuple("0123456789")
    assert any("random weights" in note for note in trained.notes)


def test_what_was_saved_is_what_was_returned(small_vgg_run) -> None:
    trained = small_vgg_run.trained
    assert TrainedModel.load(trained.folder) == trained
    arrays = read_safetensors(trained.folder / "weights.safetensors")
    assert sum(array.size for array in arrays.values()) == trained.parameters
    restored = arrays_of(restore(trained, small_vgg_run.recipe))
    assert all(np.array_equal(restored[name], array) for name, array in arrays.items())


def test_training_never_opens_a_test_photo(small_vgg_run) -> None:
    test = set(small_vgg_run.dataset.indices("test").tolist())
    train = set(small_vgg_run.dataset.indices("train").tolist())
    assert test.isdisjoint(small_vgg_run.rows_read)
    assert train <= small_vgg_run.rows_read


@pytest.fixture(scope="module")
def published(small_vgg_network, tmp_path_factory):
    """Random weights that stand for a published backbone's."""
    network = build_network(recipe_of(32, "vgg16"), 10)
    values = randomise(variables(backbone_layers(network)), seed=4)
    path = tmp_path_factory.mktemp("weights") / "backbone.safetensors"
    save_weights(values, path)
    return path, values


def two_phases(path, **sections):
    return recipe_of(
        32,
        "vgg16",
        model={
            "weights": str(path),
            "head": {"dense": [16], "batch_norm": "after", "dropout": 0.0},
        },
        train={"epochs": 2, "learning_rate": 1e-2, "class_weights": "balanced"},
        fine_tune={"start": "block5_conv1", "epochs": 1, "learning_rate": 1e-3},
        **sections,
    )


@pytest.mark.parametrize("augment", [{}, {"shift": 0.1}], ids=["on features", "through backbone"])
def test_fine_tuning_changes_what_it_may(augment, published, small_vgg_run, tmp_path) -> None:
    path, values = published
    recipe = two_phases(path, augment=augment)
    trained = train_model(small_vgg_run.dataset, recipe, tmp_path)
    assert [r.phase for r in trained.history] == ["train"] * 2 + ["fine_tune"] * 2
    start = trained.history[2]
    assert start.epoch == 0
    # The head that was trained on cached features stands in the network: it starts from there.
    best = min(trained.history[:2], key=lambda r: r.validation_loss)
    assert start.validation_accuracy == pytest.approx(best.validation_accuracy, abs=1e-6)
    assert trained.history[trained.best].validation_loss <= start.validation_loss
    arrays = read_safetensors(tmp_path / "weights.safetensors")
    moved = {name for name, value in values.items() if not np.array_equal(arrays[name], value)}
    assert moved <= {"block5_conv1/kernel", "block5_conv1/bias"}
    assert moved or trained.best == 2
    words = " ".join(trained.notes)
    assert sha256_file(path) in words
    assert "fine-tuned from layer block5_conv1" in words
    assert ("features up to block4_pool" in words) == (not augment)


def test_stopped_in_fine_tuning_the_head_is_not_trained_again(
    published, small_vgg_run, tmp_path, monkeypatch
) -> None:
    recipe = two_phases(published[0])
    recipe = replace(recipe, fine_tune=replace(recipe.fine_tune, epochs=2))
    kept, real = Unfinished(tmp_path, "train", {}), loop._epoch

    def stopping(stepper, train, plan, epoch, history):
        if (plan.phase, epoch) == ("fine_tune", 2):
            raise KeyboardInterrupt
        return real(stepper, train, plan, epoch, history)

    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    train_model(small_vgg_run.dataset, recipe, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "_epoch", stopping)
        train_model(small_vgg_run.dataset, recipe, tmp_path / "stopped", kept)
    assert kept.reached == "fine_tune after epoch 1 of 2"
    monkeypatch.setattr(features, "Inference", None)
    train_model(small_vgg_run.dataset, recipe, tmp_path / "stopped", kept)
    whole, stopped = (tmp_path / name / "weights.safetensors" for name in ("whole", "stopped"))
    assert sha256_file(whole) == sha256_file(stopped)


def test_trained_on_features_it_is_what_it_is_through_the_frozen_layers(
    published, small_vgg_run, tmp_path
) -> None:
    """With dropout and normalisation in the head. SGD, because Adam takes a step of one size where
    a gradient is nothing but rounding, and so makes much of a last bit.
    """
    found = {}
    for gib in (0.0, 1.0):
        recipe = two_phases(published[0])
        head = replace(recipe.model.head, dropout=0.3)
        recipe = replace(
            recipe,
            model=replace(recipe.model, head=head),
            train=replace(recipe.train, optimizer="sgd", features_gib=gib),
        )
        out = tmp_path / str(gib)
        out.mkdir()
        trained = train_model(small_vgg_run.dataset, recipe, out)
        assert ("features up to head_pool" in " ".join(trained.notes)) == bool(gib)
        assert ("features up to block4_pool" in " ".join(trained.notes)) == bool(gib)
        assert {path.name for path in out.iterdir()} == {"trained.json", "weights.safetensors"}
        found[gib] = trained.history, read_safetensors(out / "weights.safetensors")
    (slow, before), (quick, after) = found.values()
    for one, other in zip(slow, quick, strict=True):
        assert one.validation_loss == pytest.approx(other.validation_loss, abs=TOLERANCE)
        assert one.loss == pytest.approx(other.loss, abs=TOLERANCE)
    for name, value in before.items():
        assert np.allclose(value, after[name], rtol=TOLERANCE, atol=TOLERANCE), name


def test_the_head_is_trained_on_all_views(published, small_vgg_run, tmp_path) -> None:
    recipe = two_phases(published[0], augment={"shift": 0.1})
    recipe = replace(
        recipe,
        train=replace(recipe.train, feature_views=2),
        fine_tune=replace(recipe.fine_tune, feature_views=3),
    )
    trained = train_model(small_vgg_run.dataset, recipe, tmp_path)
    words = " ".join(trained.notes)
    assert "up to head_pool, computed once in 2 augmented views" in words
    assert "up to block4_pool, computed once in 3 augmented views" in words
    assert trained.history[1].loss < trained.history[0].loss


def test_no_epochs_of_fine_tuning_leave_the_backbone_alone(
    published, small_vgg_run, tmp_path
) -> None:
    path, values = published
    recipe = recipe_of(
        32, "vgg16", model={"weights": str(path)}, train={"epochs": 1}, fine_tune={"epochs": 0}
    )
    trained = train_model(small_vgg_run.dataset, recipe, tmp_path)
    arrays = read_safetensors(tmp_path / "weights.safetensors")
    assert all(np.array_equal(arrays[name], value) for name, value in values.items())
    assert {record.phase for record in trained.history} == {"train"}


def test_batch_normalisation_is_left_alone_by_fine_tuning(digits_run, tmp_path) -> None:
    """Statistics of a few photos would wreck what millions of photos gave."""
    weights = digits_run.trained.folder / "weights.safetensors"
    recipe = recipe_of(
        32,
        model={"weights": str(weights)},
        train={"epochs": 1, "batch_size": 64},
        fine_tune={"start": "Conv_1", "epochs": 1, "learning_rate": 1e-4},
    )
    train_model(digits_run.dataset, recipe, tmp_path)
    before, after = read_safetensors(weights), read_safetensors(tmp_path / "weights.safetensors")
    kept = [n for n in before if "bn" in n.lower() or n.startswith("block_")]
    assert len(kept) > 200
    assert all(np.array_equal(before[name], after[name]) for name in kept)


@pytest.mark.parametrize("start", ["block_99", -3, 5000])
def test_an_unknown_start_is_refused_before_any_work(start, small_vgg_run, tmp_path) -> None:
    recipe = recipe_of(32, "vgg16", fine_tune={"start": start})
    with pytest.raises(RecipeError, match=r"fine_tune\.start"):
        train_model(small_vgg_run.dataset, recipe, tmp_path)
    assert not list(tmp_path.iterdir())


def test_missing_weights_name_the_other_ways(small_vgg_run, tmp_path) -> None:
    recipe = recipe_of(32, "vgg16", model={"weights": str(tmp_path / "none.h5")})
    with pytest.raises(ModelError, match="found none") as caught:
        train_model(small_vgg_run.dataset, recipe, tmp_path / "out")
    assert "none.h5" in caught.value.where
    for way in ("embedded", ".safetensors", "none"):
        assert way in caught.value.remedy


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (tf.errors.ResourceExhaustedError, "out of memory in stage train"),
        (tf.errors.UnavailableError, "another worker is gone in stage train"),
    ],
)
def test_what_the_machine_lacks_is_no_mistake_of_ours(kind, told, tmp_path) -> None:
    with (
        pytest.raises(MachineError, match=told) as caught,
        stages.tensorflow(Run(tmp_path, "digits"), "train"),
    ):
        raise kind(None, None, "from inside of a step")
    assert caught.value.remedy


def test_other_errors_of_tensorflow_stay_what_they_are(tmp_path) -> None:
    with (
        pytest.raises(tf.errors.InvalidArgumentError),
        stages.tensorflow(Run(tmp_path, "digits"), "train"),
    ):
        raise tf.errors.InvalidArgumentError(None, None, "shapes")


def test_fine_tuning_needs_something_to_train() -> None:
    head = {"output": "sigmoid"}
    floats = {"precisions": ["fp32"]}
    recipe = recipe_of(32, "cnn", model={"blocks": [4], "head": head}, export=floats)
    network = build_network(recipe, 10)
    nothing = replace(recipe, fine_tune=replace(recipe.fine_tune, start="logits"))
    with pytest.raises(RecipeError, match="a layer with weights behind it"):
        training_stage._fine_tune_start(network, nothing)
