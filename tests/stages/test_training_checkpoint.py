"""Training that was stopped goes on from its last epoch, to the same weights, bit for bit."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tf_keras
from networks import photos, randomise
from test_quantization_qat import one_layer
from test_training_fit import PLAN, blobs, model_of, weights_of
from tf_keras import layers

from toolchain.quantization.qat import qat_model
from toolchain.training.batches import Examples
from toolchain.training.checkpoint import Checkpoint, Progress, changing, values
from toolchain.training.dropout import Dropout, seeded
from toolchain.training.fit import Fitted, fit
from toolchain.training.plan import Plan
from toolchain.training.weights import variables
from toolchain.unfinished import Unfinished

EPOCHS = 4
STEPS = 6  # of an epoch: blobs() in batches of PLAN.batch_size
EVERYTHING = replace(PLAN, epochs=EPOCHS, ema=0.9, mixup=0.4, baseline=True, best_by="loss")


class Stopping:
    """An array that is pulled away after so many reads, as by Ctrl-C."""

    def __init__(self, array: np.ndarray, reads: int) -> None:
        self._array, self._left = array, reads
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        return self._array[rows]


def model_with_state() -> tf_keras.Model:
    """Weights that steps change and statistics that batches change; units are dropped."""
    vector = layers.Input((6,))
    x = layers.BatchNormalization(name="norm")(layers.Dense(8, name="hidden")(vector))
    x = Dropout(0.4, name="dropped")(layers.ReLU(name="relu")(x))
    model = tf_keras.Model(vector, layers.Dense(3, name="logits")(x))
    randomise(variables(model.layers))
    return model


def kept_in(folder: Path) -> Unfinished:
    return Unfinished(folder, "train", {"recipe": "of the test"})


def stopping(examples: Examples, reads: int) -> Examples:
    return replace(examples, inputs=Stopping(examples.inputs, reads))


def stopped_after(reads: int, plan: Plan, kept: Unfinished, make=model_with_state) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(make(), stopping(blobs(), reads), blobs(seed=1), plan, kept)


def without_seconds(fitted: Fitted) -> list:
    return [replace(record, seconds=0.0) for record in fitted.history]


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 1.0, "schedule": "plateau", "plateau_epochs": 1},
        {"optimizer": "sgd", "ema": 0.0, "schedule": "cosine", "warmup_epochs": 1.5},
    ],
)
def test_stopped_again_and_again_it_ends_in_the_same_weights(changes, tmp_path, monkeypatch):
    plan, told = replace(EVERYTHING, **changes), []
    whole = model_with_state()
    expected = fit(whole, blobs(), blobs(seed=1), plan)
    monkeypatch.setattr("toolchain.training.fit.say", told.append)
    # In the first epoch, in the second, at the start of the third: a reader is two batches ahead.
    for reads in (4, STEPS + 3, STEPS + 1):
        stopped_after(reads, plan, kept_in(tmp_path))
    model, kept = model_with_state(), kept_in(tmp_path)
    fitted = fit(model, blobs(), blobs(seed=1), plan, kept)
    assert weights_of(model) == weights_of(whole)
    assert without_seconds(fitted) == without_seconds(expected)
    # The rate changed on the way, and it was followed.
    assert len({record.learning_rate for record in fitted.history[1:]}) > 1
    assert fitted.best == expected.best
    epochs = [int(found[1]) for line in told if (found := re.match(r"train (\d)/4", line))]
    assert epochs == [1, 2, 3, 4]
    assert [line for line in told if "goes on" in line] == [
        "train: goes on after epoch 1",
        "train: goes on after epoch 2",
    ]
    assert kept.reached == "train after epoch 4 of 4"


def test_a_finished_phase_is_not_repeated(tmp_path) -> None:
    first, second = model_with_state(), model_with_state()
    fitted = fit(first, blobs(), blobs(seed=1), PLAN, kept_in(tmp_path))
    nothing = stopping(blobs(), 0)
    assert fit(second, nothing, nothing, PLAN, kept_in(tmp_path)) == fitted
    assert weights_of(second) == weights_of(first)


def test_early_stopping_counts_on_where_it_was(tmp_path) -> None:
    """Nothing gets better at a rate of 0: the second of two patient epochs comes after the stop."""
    plan = replace(PLAN, epochs=9, learning_rate=0.0, patience=2)
    stopped_after(2 * STEPS + 3, plan, kept_in(tmp_path), make=model_of)
    fitted = fit(model_of(), blobs(), blobs(seed=1), plan, kept_in(tmp_path))
    assert [record.epoch for record in fitted.history] == [1, 2, 3]
    assert fitted.best == 0


def test_a_damaged_checkpoint_is_told_and_not_used(tmp_path, monkeypatch) -> None:
    told, model, other = [], model_with_state(), model_of()
    monkeypatch.setattr("toolchain.training.checkpoint.say", told.append)
    before, checkpoint = weights_of(model), Checkpoint(kept_in(tmp_path), "train", 3)
    checkpoint.save(
        Progress([], -1, values(changing(model))), {"weights": [v * 2 for v in changing(model)]}
    )
    path = kept_in(tmp_path).path("train.safetensors")
    sound = path.read_bytes()
    for data in (sound[:-40], sound[:20], b"", sound.replace(b"weights.3", b"weights.9")):
        path.write_bytes(data)
        assert checkpoint.load(changing(model), {"weights": changing(model)}) is None
        assert not path.exists()
    path.write_bytes(sound)
    assert checkpoint.load(changing(other), {"weights": changing(other)}) is None
    assert weights_of(model) == before
    assert len(told) == 5
    assert all("starts over" in line for line in told)
    path.write_bytes(sound)
    assert checkpoint.load(changing(model), {"weights": changing(model)}) is not None
    assert weights_of(model) != before


def test_the_scale_of_float16_losses_is_kept(tmp_path) -> None:
    found = []
    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        for kept in (None, kept_in(tmp_path)):
            plan = replace(PLAN, epochs=2)
            if kept is not None:
                stopped_after(STEPS + 3, plan, kept)
            model = model_with_state()
            fit(model, blobs(), blobs(seed=1), plan, kept)
            found.append(weights_of(model))
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    assert found[0] == found[1]


def test_training_with_rounding_goes_on_as_well(tmp_path) -> None:
    inputs = photos(96, 6).astype(np.float32)
    examples = Examples(inputs, inputs.mean(axis=(1, 2)).argmax(axis=1), np.arange(96))
    plan = replace(PLAN, phase="quantize", epochs=2, baseline=True, prepare=lambda x, *_: x / 255)
    whole, model = (qat_model(*one_layer("dense")) for _ in range(2))
    fit(whole, examples, examples, plan)
    with pytest.raises(KeyboardInterrupt):
        cut = stopping(examples, STEPS + 3)
        fit(qat_model(*one_layer("dense")), cut, examples, plan, kept_in(tmp_path))
    fitted = fit(model, examples, examples, plan, kept_in(tmp_path))
    assert weights_of(model) == weights_of(whole)
    assert weights_of(model) != weights_of(qat_model(*one_layer("dense")))
    assert [record.epoch for record in fitted.history] == [0, 1, 2]


def test_dropout_follows_from_the_seed_and_the_layer() -> None:
    ones, found = np.ones((50, 40), np.float32), {}
    for name, seed in [("a", (1, 2)), ("a", (1, 2)), ("b", (1, 2)), ("a", (1, 3))]:
        layer = Dropout(0.25, name=name)
        with seeded(np.array(seed, np.int32)):
            found.setdefault((name, seed), []).append(layer(ones, training=True).numpy())
            assert np.array_equal(layer(ones, training=False), ones)
    same, other, later = found.values()
    assert np.array_equal(*same)
    assert not np.array_equal(same[0], other[0])
    assert not np.array_equal(same[0], later[0])
    assert set(np.unique(same[0])) == {np.float32(0.0), np.float32(1 / 0.75)}
    assert abs((same[0] == 0).mean() - 0.25) < 0.04


_KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
import test_training_checkpoint as here

class Killing(here.Stopping):
    def __getitem__(self, rows):
        try:
            return super().__getitem__(rows)
        except KeyboardInterrupt:
            os.kill(os.getpid(), signal.SIGKILL)

examples = replace(here.blobs(), inputs=Killing(here.blobs().inputs, 2 * here.STEPS + 3))
model, kept = here.model_with_state(), here.kept_in(Path(sys.argv[1]))
here.fit(model, examples, here.blobs(seed=1), here.EVERYTHING, kept)
"""


def test_killed_by_the_system_it_goes_on_in_another_process(tmp_path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path)],
        env={"PYTHONPATH": ":".join(sys.path), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    kept = kept_in(tmp_path)
    assert kept.path("train.safetensors").is_file()
    whole, model = model_with_state(), model_with_state()
    expected = fit(whole, blobs(), blobs(seed=1), EVERYTHING)
    fitted = fit(model, blobs(), blobs(seed=1), EVERYTHING, kept)
    assert weights_of(model) == weights_of(whole)
    assert without_seconds(fitted) == without_seconds(expected)
    assert not list(tmp_path.rglob("*.tmp-*"))
