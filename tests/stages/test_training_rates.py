"""Learning rates: when a plateau lowers them, and how they differ from block to block."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tf_keras
from networks import randomise, recipe_of
from test_training_fit import PLAN, blobs, model_of, scripted
from tf_keras import layers

from toolchain.training import fit as loop
from toolchain.training import stage
from toolchain.training.fit import fit
from toolchain.training.rates import layer_factors, rate_at
from toolchain.training.weights import variables

TOLERANCE = {"rate": 1e-9, "share of a step": 1e-3}
PLATEAU = replace(PLAN, epochs=7, schedule="plateau", plateau_factor=0.1, plateau_epochs=2)


def test_a_plateau_lowers_the_rate_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = [0.9, 0.5, 0.6, 0.5, 0.7, 0.51, 0.4]
    scripted(monkeypatch, [(loss, 0.5) for loss in losses])
    told: list[str] = []
    monkeypatch.setattr(loop, "say", told.append)
    rates = [r.learning_rate for r in fit(model_of(), blobs(), blobs(), PLATEAU).history]
    # Better in the second epoch, not in the third and fourth; counted anew, not in two more.
    assert rates == pytest.approx([1e-2] * 4 + [1e-3] * 2 + [1e-4], abs=TOLERANCE["rate"])
    assert [line for line in told if "learning rate" in line] == [
        "train: not getting better, learning rate 0.001 from here on",
        "train: not getting better, learning rate 0.0001 from here on",
    ]


def test_the_start_counts_among_what_is_to_be_beaten(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, [(loss, 0.5) for loss in (0.3, 0.4, 0.5, 0.4)])
    plan = replace(PLATEAU, epochs=3, baseline=True)
    rates = [r.learning_rate for r in fit(model_of(), blobs(), blobs(), plan).history[1:]]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-3], abs=TOLERANCE["rate"])


@pytest.mark.parametrize(
    ("names", "depths"),
    [
        (
            ["image", "Conv1", "bn_Conv1", "expanded_conv_depthwise", "block_1_expand",
             "block_1_expand_BN", "block_11_expand", "Conv_1", "Conv_1_bn", "out_relu",
             "head_pool", "head_dense_1", "logits"],
            [5, 5, 5, 4, 3, 3, 2, 1, 1, 0, 0, 0, 0],
        ),
        (
            ["image", "block1_conv1", "block1_pool", "block2_conv1", "block2_conv2", "head_pool",
             "head_dropout", "head_scores", "logits"],
            [2, 2, 2, 1, 1, 0, 0, 0, 0],
        ),
    ],
    ids=["mobilenet_v2", "vgg16"],
)  # fmt: skip
def test_each_block_has_a_share_of_the_rate_of_the_next(names, depths) -> None:
    model = SimpleNamespace(layers=[SimpleNamespace(name=name) for name in names])
    assert layer_factors(model, 0.5) == {
        name: 0.5**depth for name, depth in zip(names, depths, strict=True)
    }


def blocks() -> tf_keras.Model:
    x = vector = layers.Input((6,))
    for name in ("block1_a", "block2_a", "block2_b"):
        x = layers.Dense(6, name=name)(x)
    model = tf_keras.Model(vector, layers.Dense(3, name="logits")(x))
    randomise(variables(model.layers))
    return model


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_step_of_a_lower_block_is_smaller(optimizer: str) -> None:
    moved = {}
    for factor in (1.0, 0.5):
        model, start = blocks(), blocks()
        plan = replace(PLAN, epochs=1, batch_size=96, optimizer=optimizer, depth_factor=factor)
        fit(model, blobs(), blobs(), plan)
        pairs = zip(model.layers[1:], start.layers[1:], strict=True)
        moved[factor] = {a.name: (a.kernel - b.kernel).numpy() for a, b in pairs}
    for name, share in {"block1_a": 0.25, "block2_a": 0.5, "block2_b": 0.5, "logits": 1.0}.items():
        whole = moved[1.0][name]
        error = np.abs(moved[0.5][name] - share * whole).max()
        assert error < TOLERANCE["share of a step"] * np.abs(whole).max()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, ("cosine", 0.0, 1.0)),
        (
            {"schedule": "plateau", "warmup_epochs": 1.5, "depth_factor": 0.8},
            ("plateau", 1.5, 0.8),
        ),
    ],
)
def test_fine_tuning_has_a_schedule_of_its_own(said, expected) -> None:
    train = {"warmup_epochs": 3.0, "plateau_factor": 0.3, "plateau_epochs": 4}
    recipe = recipe_of(32, train=train, fine_tune=said)
    plan = stage._tuning(stage._plan(recipe, None), recipe)  # type: ignore[arg-type]
    assert (plan.schedule, plan.warmup_epochs, plan.depth_factor) == expected
    assert (plan.plateau_factor, plan.plateau_epochs) == (0.3, 4)
    assert (plan.phase, plan.epochs, plan.learning_rate, plan.baseline) == (
        "fine_tune", 5, 1e-4, True,
    )  # fmt: skip


@pytest.mark.parametrize("warmup", [1e-4, 0.5, 2.0])
def test_a_warm_up_never_goes_beyond_the_rate(warmup: float) -> None:
    plan = replace(PLAN, warmup_epochs=warmup)
    found = [rate_at(plan, done, []) for done in np.linspace(0, 3, 50)]
    assert max(found) <= plan.learning_rate
    assert found[0] > 0
