"""The training loop on a few weights: what stops it, what it keeps, what it adds up."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import tf_keras
from networks import randomise, softmax
from tf_keras import layers

from toolchain.errors import InputError
from toolchain.training import fit as loop
from toolchain.training.batches import Examples
from toolchain.training.fit import fit
from toolchain.training.inference import Inference
from toolchain.training.plan import Plan
from toolchain.training.weights import variables
from toolchain.unfinished import Unfinished

TOLERANCE = {"loss": 1e-5, "rate": 1e-9, "xla": 1e-4}
CLASSES, FEATURES, COUNT = 3, 6, 96


def as_is(batch, seed, training):
    return batch


PLAN = Plan(
    phase="train",
    epochs=3,
    batch_size=16,
    learning_rate=1e-2,
    seed=5,
    prepare=as_is,
    patience=99,
    best_by="accuracy",
)


def model_of(seed: int = 0) -> tf_keras.Model:
    vector = layers.Input((FEATURES,))
    x = layers.ReLU()(layers.Dense(8, name="hidden")(vector))
    model = tf_keras.Model(vector, layers.Dense(CLASSES, name="logits", dtype="float32")(x))
    randomise(variables(model.layers), seed)
    return model


def blobs(count: int = COUNT, seed: int = 0) -> Examples:
    """Three clouds of points, one a class."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    inputs = random.normal(size=(count, FEATURES)).astype(np.float32)
    inputs[np.arange(count), labels] += 4
    return Examples(inputs, labels, np.arange(count))


def weights_of(model: tf_keras.Model) -> list[bytes]:
    return [w.tobytes() for w in model.get_weights()]


@pytest.mark.parametrize("changes", [{}, {"optimizer": "sgd"}, {"schedule": "cosine"}])
def test_it_learns(changes: dict[str, str]) -> None:
    model, validation = model_of(), blobs(seed=1)
    fitted = fit(
        model, blobs(), validation, replace(PLAN, epochs=12, learning_rate=3e-2, **changes)
    )
    assert [record.epoch for record in fitted.history] == list(range(1, 13))
    assert fitted.history[-1].loss < fitted.history[0].loss / 2
    assert fitted.history[fitted.best].validation_accuracy > 0.9
    assert {record.phase for record in fitted.history} == {"train"}


def test_distillation_learns_the_teachers_answers_whatever_the_labels_say() -> None:
    teacher, validation = model_of(seed=3), blobs(256, seed=1)
    answers = Inference(teacher, as_is).logits(validation).argmax(axis=1)
    asked = replace(validation, labels=answers)
    train = blobs(512)
    wrong = replace(train, labels=(train.labels + 1) % CLASSES)
    agreement = {}
    for share in (0.0, 1.0):
        plan = replace(PLAN, epochs=20, learning_rate=3e-2, teacher=teacher, distillation=share)
        fitted = fit(model_of(seed=4), wrong, asked, plan)
        agreement[share] = fitted.history[-1].validation_accuracy
    assert agreement[1.0] > 0.9
    assert agreement[0.0] < 0.7


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_with_a_teacher_validation_asks_for_its_answers(share: float) -> None:
    """The teacher itself has the entropy of its answers; another model more."""
    teacher, validation = model_of(seed=3), blobs(64, seed=1)
    plan = replace(PLAN, epochs=1, baseline=True, teacher=teacher, distillation=share)
    probabilities = softmax(Inference(teacher, as_is).logits(validation))
    own = probabilities[np.arange(64), validation.labels[validation.rows]]
    entropy = -(probabilities * np.log(probabilities)).sum(axis=1).mean()
    expected = share * entropy - (1 - share) * np.log(own).mean()
    copied = fit(model_of(seed=3), blobs(), validation, plan).history[0]
    assert copied.validation_loss == pytest.approx(expected, abs=TOLERANCE["loss"])
    assert fit(model_of(seed=4), blobs(), validation, plan).history[0].validation_loss > entropy


def test_the_same_seed_gives_the_same_weights() -> None:
    found = []
    for seed in (5, 5, 6):
        model = model_of()
        fit(model, blobs(), blobs(seed=1), replace(PLAN, seed=seed))
        found.append(weights_of(model))
    assert found[0] == found[1]
    assert found[0] != found[2]


def scripted(
    monkeypatch: pytest.MonkeyPatch, scores: list[tuple[float, float]]
) -> list[list[bytes]]:
    """Let validation give (loss, accuracy) in this order; returns the weights it met."""
    seen: list[list[bytes]] = []

    def told(self, examples, *teacher):
        seen.append(weights_of(self.model))
        return scores[len(seen) - 1]

    monkeypatch.setattr(loop.Inference, "evaluate", told)
    return seen


def test_the_weights_of_the_best_epoch_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = scripted(monkeypatch, [(0.9, 0.5), (0.8, 0.8), (0.2, 0.7), (0.2, 0.7)])
    model = model_of()
    fitted = fit(model, blobs(), blobs(), replace(PLAN, epochs=4))
    assert fitted.best == 1
    assert weights_of(model) == seen[1]
    assert seen[1] != seen[3]


def test_by_loss_the_lowest_loss_is_best(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, [(0.9, 0.9), (0.3, 0.8), (0.6, 0.95)])
    assert fit(model_of(), blobs(), blobs(), replace(PLAN, best_by="loss")).best == 1


def test_of_equal_accuracies_the_lower_loss_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, [(0.9, 0.8), (0.5, 0.8), (0.6, 0.8)])
    assert fit(model_of(), blobs(), blobs(), PLAN).best == 1


def test_it_stops_when_nothing_gets_better(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = scripted(monkeypatch, [(0.5, 0.6), (0.5, 0.7), (0.5, 0.6), (0.6, 0.7), (0.1, 0.9)])
    fitted = fit(model_of(), blobs(), blobs(), replace(PLAN, epochs=50, patience=2))
    assert len(fitted.history) == len(seen) == 4
    assert fitted.best == 1


def test_the_state_before_the_first_step_may_win(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    before = weights_of(model)
    scripted(monkeypatch, [(0.5, 0.9), (0.5, 0.8), (0.4, 0.7), (0.3, 0.6)])
    fitted = fit(model, blobs(), blobs(), replace(PLAN, baseline=True))
    assert [record.epoch for record in fitted.history] == [0, 1, 2, 3]
    assert (fitted.best, fitted.history[0].validation_accuracy) == (0, 0.9)
    assert weights_of(model) == before


def test_a_smaller_loss_does_not_make_up_for_mistakes_that_the_start_did_not_make(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores = [(0.05, 0.98), (0.02, 0.95), (0.04, 0.98), (0.03, 0.99), (0.01, 0.97)]
    plan = replace(PLAN, epochs=4, best_by="loss", baseline=True)
    found = {}
    for never_below in (0.0, 0.97, 0.975, 0.98, 0.995):
        scripted(monkeypatch, scores)
        found[never_below] = fit(
            model_of(), blobs(), blobs(), replace(plan, never_below=never_below)
        ).best
    assert found == {0.0: 4, 0.97: 4, 0.975: 3, 0.98: 3, 0.995: 3}


def test_epochs_less_accurate_than_the_start_are_waited_through_and_none_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = model_of()
    before = weights_of(model)
    scripted(monkeypatch, [(0.05, 0.98), (0.04, 0.95), (0.03, 0.96), (0.02, 0.97), (0.01, 0.99)])
    plan = replace(PLAN, epochs=9, patience=3, best_by="loss", baseline=True, never_below=1.0)
    fitted = fit(model, blobs(), blobs(), plan)
    assert (fitted.best, len(fitted.history)) == (0, 4)
    assert weights_of(model) == before


def test_no_epochs_and_a_baseline_measure_and_change_nothing() -> None:
    model, validation = model_of(), blobs(seed=1)
    before = weights_of(model)
    fitted = fit(model, blobs(), validation, replace(PLAN, epochs=0, baseline=True))
    assert len(fitted.history) == 1
    assert fitted.history[0].validation_accuracy == Inference(model, as_is).evaluate(validation)[1]
    assert weights_of(model) == before


def test_evaluation_is_cross_entropy_and_accuracy() -> None:
    model, examples = model_of(), blobs(150)
    examples = replace(examples, rows=np.arange(0, 150, 2))
    logits = model.predict(examples.inputs[examples.rows], verbose=0)
    labels = examples.labels[examples.rows]
    loss, accuracy = Inference(model, as_is).evaluate(examples)
    chosen = softmax(logits.astype(np.float64))[np.arange(len(labels)), labels]
    assert loss == pytest.approx(-np.log(chosen).mean(), abs=TOLERANCE["loss"])
    assert accuracy == np.mean(logits.argmax(axis=1) == labels)
    assert np.allclose(Inference(model, as_is).logits(examples), logits, atol=TOLERANCE["loss"])


def test_learning_labels_that_mean_nothing_is_told_once(monkeypatch, tmp_path) -> None:
    told: list[str] = []
    monkeypatch.setattr(loop, "say", told.append)
    train, validation = blobs(), blobs(200, seed=1)
    random = np.random.default_rng(2)
    train, validation = (
        replace(one, labels=random.permutation(one.labels)) for one in (train, validation)
    )
    plan = replace(PLAN, epochs=40, learning_rate=3e-2, best_by="loss")
    kept = Unfinished(tmp_path, "train", {})
    fitted = fit(model_of(), train, validation, plan, kept)
    assert "train learns its photos by heart" in fitted.warning
    assert [line for line in told if "by heart" in line] == [f"warning: {fitted.warning}"]
    assert fit(model_of(), train, validation, plan, kept) == fitted


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_the_loss_is_the_formula(smoothing: float, decay: float) -> None:
    """Cross-entropy with smoothed targets, plus half the decay times the kernels' squares."""
    model, examples = model_of(), blobs()
    logits = model.predict(examples.inputs, verbose=0).astype(np.float64)
    target = np.eye(CLASSES)[examples.labels] * (1 - smoothing) + smoothing / CLASSES
    expected = -(target * np.log(softmax(logits))).sum(axis=1).mean()
    kernels = [w for w in model.get_weights() if w.ndim == 2]
    expected += decay * sum((kernel.astype(np.float64) ** 2).sum() / 2 for kernel in kernels)
    plan = replace(PLAN, epochs=1, batch_size=COUNT, label_smoothing=smoothing, weight_decay=decay)
    record = fit(model, examples, examples, plan).history[0]
    assert record.loss == pytest.approx(expected, abs=TOLERANCE["loss"])
    assert record.accuracy == np.mean(logits.argmax(axis=1) == examples.labels)


def test_weight_decay_shrinks_the_kernels() -> None:
    sizes = []
    for decay in (0.0, 0.1):
        model = model_of()
        fit(model, blobs(), blobs(), replace(PLAN, epochs=10, weight_decay=decay))
        sizes.append(np.linalg.norm(model.get_layer("hidden").kernel.numpy()))
    assert sizes[1] < 0.8 * sizes[0]


def test_the_cosine_falls_to_zero_after_the_warm_up() -> None:
    plan = replace(PLAN, epochs=5, schedule="cosine", warmup_epochs=1.0, learning_rate=0.1)
    rates = [record.learning_rate for record in fit(model_of(), blobs(), blobs(), plan).history]
    expected = [0.05 * (1 + math.cos(math.pi * done / 4)) for done in range(5)]
    assert rates == pytest.approx(expected, abs=TOLERANCE["rate"])


def test_the_warm_up_starts_near_zero() -> None:
    """One step at the start of a long warm-up hardly moves the weights."""
    moved = []
    for warmup in (0.0, 50.0):
        model = model_of()
        before = np.concatenate([w.ravel() for w in model.get_weights()])
        plan = replace(PLAN, epochs=1, batch_size=COUNT, warmup_epochs=warmup, optimizer="sgd")
        fit(model, blobs(), blobs(), plan)
        moved.append(
            np.abs(np.concatenate([w.ravel() for w in model.get_weights()]) - before).max()
        )
    assert 0 < moved[1] < moved[0] / 1000


def test_frozen_layers_stay_as_they_are() -> None:
    model = model_of()
    model.get_layer("hidden").trainable = False
    hidden, logits = (model.get_layer(n).kernel.numpy() for n in ("hidden", "logits"))
    fit(model, blobs(), blobs(), PLAN)
    assert np.array_equal(model.get_layer("hidden").kernel.numpy(), hidden)
    assert not np.array_equal(model.get_layer("logits").kernel.numpy(), logits)


def test_xla_computes_the_same() -> None:
    losses = []
    for xla in (False, True):
        plan = replace(PLAN, epochs=2, xla=xla)
        losses.append([r.loss for r in fit(model_of(), blobs(), blobs(), plan).history])
    assert losses[0] == pytest.approx(losses[1], abs=TOLERANCE["xla"])


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_learns_with_float32_weights(precision: str) -> None:
    tf_keras.mixed_precision.set_global_policy(precision)
    try:
        model = model_of()
        fitted = fit(model, blobs(), blobs(seed=1), replace(PLAN, epochs=8))
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    assert fitted.history[fitted.best].validation_accuracy > 0.8
    assert {w.dtype for w in model.get_weights()} == {np.dtype("float32")}
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_training_that_diverges_is_no_success() -> None:
    plan = replace(PLAN, optimizer="sgd", learning_rate=1e30)
    with pytest.raises(InputError, match="train diverged: expected a finite validation loss"):
        fit(model_of(), blobs(), blobs(seed=1), plan)
