"""How much a photo counts in the loss, by its class."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tf_keras
from networks import recipe_of, softmax
from tf_keras import layers

from toolchain.errors import RecipeError
from toolchain.training.batches import Examples
from toolchain.training.class_weights import class_weights
from toolchain.training.fit import fit
from toolchain.training.plan import Plan

TOLERANCE = 1e-5
LABELS = np.array([0] * 6 + [1] * 3 + [2] * 3)


def weights_for(weights) -> tuple[float, ...]:
    dataset = SimpleNamespace(
        classes=("ant", "bee", "cat"),
        label_array=lambda: LABELS,
        indices=lambda split: {"train": np.arange(12)}[split],
    )
    recipe = recipe_of(32, train={"class_weights": weights})
    return class_weights(recipe, dataset)  # type: ignore[arg-type]


def test_balanced_classes_count_alike_as_a_whole() -> None:
    weights = np.array(weights_for("balanced"))
    assert np.allclose(weights * np.bincount(LABELS), 4)
    assert weights_for({"bee": 3}) == (1.0, 3.0, 1.0)
    assert weights_for("none") == ()
    with pytest.raises(RecipeError, match="received 'bees'"):
        weights_for({"bees": 3})
    with pytest.raises(RecipeError, match="received 0 for every class"):
        weights_for({"ant": 0, "bee": 0, "cat": 0})


PLAN = Plan(
    phase="train",
    epochs=1,
    batch_size=12,
    learning_rate=1e-2,
    seed=5,
    prepare=lambda batch, seed, training: batch,
    class_weights=(0.5, 1.0, 2.0),
)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_each_photo_counts_as_much_as_its_class(smoothing: float) -> None:
    vector = layers.Input((4,))
    model = tf_keras.Model(vector, layers.Dense(3, name="logits")(vector))
    inputs = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    examples = Examples(inputs, LABELS, np.arange(12))
    chances = np.log(softmax(model(inputs).numpy().astype(np.float64)))
    target = np.eye(3)[LABELS] * (1 - smoothing) + smoothing / 3
    each = -(target * chances).sum(axis=1)
    expected = np.mean(each * np.array(PLAN.class_weights)[LABELS])
    record = fit(model, examples, examples, replace(PLAN, label_smoothing=smoothing)).history[0]
    assert record.loss == pytest.approx(expected, abs=TOLERANCE)
