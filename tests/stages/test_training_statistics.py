"""Statistics that begin as a guess are soon measured ones; measured ones are left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tf_keras
from test_training_fit import CLASSES, FEATURES, PLAN, blobs
from tf_keras import layers

from toolchain.training.batches import Examples
from toolchain.training.fit import fit
from toolchain.training.statistics import Quickened

OFFSET, SPREAD = 40.0, 5.0
TOLERANCE = 1e-4


def network() -> tf_keras.Model:
    vector = layers.Input((FEATURES,))
    x = layers.BatchNormalization(momentum=0.9, name="bn")(vector)
    return tf_keras.Model(vector, layers.Dense(CLASSES, name="logits")(x))


def far_from_zero(count: int, seed: int) -> Examples:
    near = blobs(count, seed)
    return replace(near, inputs=OFFSET + SPREAD * near.inputs)


def steps(model: tf_keras.Model, quickened: Quickened, batches: list[np.ndarray]) -> None:
    for batch in batches:
        before = quickened.before()
        model(batch, training=True)
        quickened.after(before)


def test_the_first_ten_steps_count_alike_and_then_the_layers_momentum_holds() -> None:
    model, random = network(), np.random.default_rng(0)
    batches = [random.normal(3, 2, (32, FEATURES)).astype(np.float32) for _ in range(11)]
    quickened = Quickened(model)
    means = np.stack([batch.mean(axis=0) for batch in batches])
    for count in (1, 3, 10):
        done = int(quickened.variables[0].numpy())
        steps(model, quickened, batches[done:count])
        found = model.get_layer("bn").moving_mean.numpy()
        assert found == pytest.approx(means[:count].mean(axis=0), abs=TOLERANCE)
    steps(model, quickened, batches[10:])
    expected = 0.9 * means[:10].mean(axis=0) + 0.1 * means[10]
    assert model.get_layer("bn").moving_mean.numpy() == pytest.approx(expected, abs=TOLERANCE)


def test_statistics_that_were_measured_before_are_left_to_the_layer() -> None:
    model, batch = network(), np.ones((8, FEATURES), np.float32)
    model.get_layer("bn").moving_mean.assign(np.full(FEATURES, 5.0, np.float32))
    steps(model, Quickened(model), [batch])
    assert model.get_layer("bn").moving_mean.numpy() == pytest.approx(4.6, abs=TOLERANCE)


def test_validation_after_few_steps_measures_the_network_that_was_trained() -> None:
    """Three steps: statistics that begin at 0 and 1 would still be far from a mean of 40."""
    model = network()
    plan = replace(PLAN, epochs=1, batch_size=32, learning_rate=0.1)
    fitted = fit(model, far_from_zero(96, 0), far_from_zero(96, 1), plan)
    assert model.get_layer("bn").moving_mean.numpy().min() > 0.9 * OFFSET
    inputs, labels = far_from_zero(96, 1).inputs, far_from_zero(96, 1).labels
    batch_statistics = model(inputs, training=True).numpy().argmax(axis=1) == labels
    assert fitted.history[-1].validation_accuracy > batch_statistics.mean() - 0.1
