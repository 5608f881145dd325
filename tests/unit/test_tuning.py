"""The search: which variants are tried, which file is chosen, what the page tells."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from test_report_page import CHROMIUM, PHONE_PIXELS, Page, measured_width

from toolchain.recipe import parse_recipe
from toolchain.tuning.choice import choose_trial, front_of
from toolchain.tuning.page import answer, render_tuning, tuning_markdown, write_tuning
from toolchain.tuning.values import Budget, Trial, Tuning, Untried
from toolchain.tuning.variants import make_variants, over_already
from toolchain.values import Interval


def base(**model: object):
    return parse_recipe({"data": {"path": "photos"}, "model": model}, name="cats")


def trial(
    alpha: float, size: int, accuracy: float, ms: float | None, mb: float, precision: str = "fp32"
) -> Trial:
    name = f"cats-a{alpha:g}-s{size}"
    return Trial(
        variant=name,
        alpha=alpha,
        size=size,
        file=f"{name}.{precision}.tflite",
        format="tflite",
        precision=precision,
        bytes=round(mb * 1e6),
        images=600,
        accuracy=Interval(accuracy, accuracy - 0.02, accuracy + 0.01),
        p50_ms=None if ms is None else Interval(ms, 0.95 * ms, 1.05 * ms),
    )


TRIALS = (
    trial(0.35, 96, 0.950, 0.5, 1.6),
    trial(0.35, 96, 0.948, 0.3, 0.5, "int8-qat"),
    trial(1.0, 160, 0.985, 3.0, 9.0),
    trial(1.0, 160, 0.982, 1.9, 2.6, "int8-qat"),
    trial(1.0, 96, 0.960, 1.2, 9.0),
)


def test_variants_are_every_width_with_every_size_the_cheapest_first() -> None:
    made, untried = make_variants(base(), [1.0, 0.35], [160, 96, 96])
    assert [(one.alpha, one.size) for one in made] == [
        (0.35, 96),
        (0.35, 160),
        (1.0, 96),
        (1.0, 160),
    ]
    assert untried == ()
    recipe = made[0].recipe
    assert recipe.name == made[0].name == "cats-a0.35-s96"
    assert (recipe.model.alpha, recipe.input.size) == (0.35, 96)
    assert (recipe.data, recipe.export) == (base().data, base().export)


def test_what_no_recipe_may_say_is_told_and_not_dropped() -> None:
    made, untried = make_variants(base(), [0.35, 0.4], [96, 8])
    assert [one.name for one in made] == ["cats-a0.35-s96"]
    assert {one.variant for one in untried} == {"cats-a0.35-s8", "cats-a0.4-s8", "cats-a0.4-s96"}
    assert any("0.4" in one.reason for one in untried)


def test_embedded_weights_fit_one_width_and_size() -> None:
    embedded = base(weights="embedded")
    made, untried = make_variants(embedded, [0.35, 0.5], [48, 96])
    assert [one.name for one in made] == ["cats-a0.35-s48"]
    reasons = {one.variant: one.reason for one in untried}
    assert "48 pixels" in reasons["cats-a0.35-s96"]
    assert "embedded backbone has 0.35" in reasons["cats-a0.5-s48"]


def test_a_backbone_without_widths_is_varied_in_size() -> None:
    made, _ = make_variants(base(backbone="vgg16"), [0.35, 1.0], [96, 150])
    assert [(one.name, one.alpha) for one in made] == [("cats-s96", None), ("cats-s150", None)]


@pytest.mark.parametrize(
    ("budget", "chosen"),
    [
        # The best in the budget is 0.985; 0.982 is within half a point of it and faster.
        (Budget(), 3),
        (Budget(max_ms=2.0), 3),
        (Budget(max_ms=1.5), 4),
        # 0.950 and 0.948 are within half a point: the faster one.
        (Budget(max_ms=1.0), 1),
        (Budget(max_mb=3.0), 3),
        (Budget(max_mb=2.0), 1),
        (Budget(max_ms=0.2), None),
    ],
)
def test_the_file_to_ship_is_the_cheapest_of_the_accurate_ones(budget, chosen) -> None:
    found, reason = choose_trial(TRIALS, budget, 0.5)
    assert found == chosen
    assert reason


def test_nothing_in_the_budget_says_what_there_is() -> None:
    _, reason = choose_trial(TRIALS, Budget(max_ms=0.2, max_mb=0.1), 0.5)
    assert "No file is within 0.2 ms and 0.1 MB" in reason
    assert "0.50 MB" in reason
    assert "takes 0.300 ms" in reason


def test_a_file_that_was_not_timed_is_in_no_budget_of_time() -> None:
    crashed = trial(0.35, 96, 0.99, None, 0.1)
    assert choose_trial([crashed], Budget(max_ms=5), 0.5)[0] is None
    assert choose_trial([crashed], Budget(max_mb=5), 0.5)[0] == 0
    assert front_of([crashed], Budget()) == ()


def test_the_front_is_of_latency_or_of_size() -> None:
    assert front_of(TRIALS, Budget(max_ms=2)) == (1, 0, 4, 3, 2)
    assert front_of(TRIALS, Budget(max_mb=3)) == (1, 0, 3, 2)


def test_what_cannot_fit_is_not_trained() -> None:
    made, _ = make_variants(base(), [0.35, 0.5], [96, 160])
    names = {one.name: one for one in made}
    slow = [trial(0.35, 160, 0.9, 4.0, 1.6), trial(0.35, 160, 0.9, 3.0, 0.5, "int8-qat")]
    budget = Budget(max_ms=2)
    assert "cats-a0.35-s160" in over_already(names["cats-a0.5-s160"], slow, budget)
    # Narrower or smaller than what was measured, it may fit.
    assert not over_already(names["cats-a0.5-s96"], slow, budget)
    # One file in the budget, or one whose interval reaches into it, keeps the larger ones alive.
    fits = [slow[0], trial(0.35, 160, 0.9, 2.05, 0.5, "int8-qat")]
    assert not over_already(names["cats-a0.5-s160"], fits, budget)
    assert not over_already(names["cats-a0.5-s160"], slow, Budget())


def tuning(**changes: object) -> Tuning:
    chosen, reason = choose_trial(TRIALS, Budget(max_ms=2.0), 0.5)
    made = Tuning(
        recipe="cats",
        date="2026-01-02T03:04:05+00:00",
        command="toolchain tune --recipe cats --max-ms 2",
        toolchain="0.1.0",
        machine={"processor": "Example CPU"},
        budget=Budget(max_ms=2.0),
        accuracy_drop=0.5,
        trials=TRIALS,
        untried=(Untried("cats-a0.5-s96", 0.5, 96, "its ImageNet weights are not here"),),
        front=front_of(TRIALS, Budget(max_ms=2.0)),
        chosen=chosen,
        reason=reason,
        ships="runs/cats-a1-s160/recipe.toml",
        test=Interval(0.979, 0.968, 0.986),
    )
    return dataclasses.replace(made, **changes)


def test_the_page_tells_the_answer_the_trials_and_what_was_not_tried() -> None:
    page = Page(render_tuning(tuning()))
    sections = ("answer", "front", "untried", "again")
    assert [one for one in page.ids if one in sections] == list(sections)
    assert page.misnested == []
    assert page.tags.count("svg") == 1
    text = page.text()
    for one in TRIALS:
        assert one.file in text
    assert "ship this .tflite cats-a1-s160.int8-qat.tflite" in text
    assert "98.2 % on validation" in " ".join(answer(tuning()).split())
    assert "96.8 to 98.6 % is its 95 % interval" in text
    assert "its ImageNet weights are not here" in text
    assert "budget 2" in text
    assert "runs/cats-a1-s160/recipe.toml" in text
    assert not {"script", "img", "link"} & set(page.tags)
    assert "cats-a0.5-s96: its ImageNet" in tuning_markdown(tuning())


def test_before_the_test_split_was_opened_the_page_says_so() -> None:
    text = Page(render_tuning(tuning(test=None, ships=""))).text()
    assert "It has not been verified on the test split." in text


def test_a_search_without_an_answer_and_without_trials_has_a_page(tmp_path: Path) -> None:
    empty = tuning(trials=(), front=(), chosen=None, reason="Nothing could be tried.", test=None)
    write_tuning(empty, tmp_path)
    assert "Nothing could be tried." in (tmp_path / "cats-tune.html").read_text()
    data = json.loads((tmp_path / "cats-tune.json").read_text())
    assert (data["schema"], data["chosen"]) == (1, None)
    assert data["untried"][0]["reason"] == "its ImageNet weights are not here"


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_phone_needs_no_sideways_scroll(tmp_path: Path) -> None:
    inner, scroll = measured_width(
        render_tuning(tuning(command="toolchain " + "x" * 300)), tmp_path
    )
    assert inner == PHONE_PIXELS
    assert scroll <= PHONE_PIXELS
