"""The average of weights: what it adds up to, and that training itself does not notice it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tf_keras
from test_training_fit import PLAN, blobs, model_of
from tf_keras import layers

from toolchain.training.average import Average
from toolchain.training.fit import fit

TOLERANCE = 1e-6


def passed_through(average: Average, model: tf_keras.Model, count: int) -> list[np.ndarray]:
    """Give the model random weights so many times; returns the first kernel of each time."""
    random = np.random.default_rng(0)
    seen = []
    for _ in range(count):
        model.set_weights([random.normal(size=w.shape) for w in model.get_weights()])
        seen.append(model.get_weights()[0])
        average.follow()
    return seen


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_the_average_is_the_published_one(decay: float) -> None:
    """tf.train.ExponentialMovingAverage(decay, num_updates): d = min(decay, (1 + n) / (10 + n))."""
    model = model_of()
    expected = model.get_weights()[0].astype(np.float64)
    average = Average(model, decay)
    for step, weight in enumerate(passed_through(average, model, 30), start=1):
        d = min(decay, (1 + step) / (10 + step))
        expected = d * expected + (1 - d) * weight
    with average.in_place():
        assert np.abs(model.get_weights()[0] - expected).max() < TOLERANCE


def test_the_model_gets_its_own_weights_back() -> None:
    model = model_of()
    average = Average(model, 0.9)
    passed_through(average, model, 3)
    own = model.get_weights()
    with pytest.raises(RuntimeError, match="stopped"), average.in_place():
        assert any((a != b).any() for a, b in zip(own, model.get_weights(), strict=True))
        raise RuntimeError("stopped")
    assert all((a == b).all() for a, b in zip(own, model.get_weights(), strict=True))


def test_statistics_of_batch_normalization_are_averaged_as_well() -> None:
    vector = layers.Input((4,))
    model = tf_keras.Model(vector, layers.BatchNormalization()(vector))
    average = Average(model, 0.9)
    model.set_weights([w + 10 for w in model.get_weights()])
    average.follow()
    # After one step 2/11 of what was there stays.
    with average.in_place():
        gained = [w.mean() for w in model.get_weights()]
    assert np.allclose(gained, [1 + 90 / 11, 90 / 11, 90 / 11, 1 + 90 / 11], atol=1e-5)


def test_frozen_layers_need_no_average() -> None:
    model = model_of()
    model.get_layer("hidden").trainable = False
    average = Average(model, 0.9)
    assert [tuple(v.shape) for v in average.variables] == [(8, 3), (3,), ()]


def test_training_itself_does_not_notice_it() -> None:
    """The own weights take the same steps; the average is what is validated, and kept."""
    plan = replace(PLAN, epochs=3, learning_rate=3e-2)
    alone, averaged = model_of(), model_of()
    raw = fit(alone, blobs(), blobs(seed=1), plan).history
    smooth = fit(averaged, blobs(), blobs(seed=1), replace(plan, ema=0.98))
    assert [r.loss for r in smooth.history] == [r.loss for r in raw]
    assert [r.validation_loss for r in smooth.history] != [r.validation_loss for r in raw]
    kept = smooth.history[smooth.best]
    again = fit(averaged, blobs(), blobs(seed=1), replace(plan, epochs=0, baseline=True))
    assert again.history[0].validation_loss == pytest.approx(kept.validation_loss, abs=TOLERANCE)
