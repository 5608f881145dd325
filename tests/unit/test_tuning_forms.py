"""Which form of an int8 .onnx is kept."""

from __future__ import annotations

import pytest

from toolchain.recipe.sections import ONNX_FORMS
from toolchain.tuning.forms import STANDARD, FormTrial, choose_form
from toolchain.values import Interval

OTHER, THIRD = ONNX_FORMS[1:3]


def trial(form: str, ms: float | None, verdict: str = "", *failures: str) -> FormTrial:
    return FormTrial(
        form=form,
        bytes=2_500_000,
        accuracy=Interval(0.98, 0.96, 0.99),
        agreement=0.998,
        failures=failures,
        p50_ms=None if ms is None else Interval(ms, 0.9 * ms, 1.1 * ms),
        of_float=None,
        of_standard=None,
        verdict=verdict,
    )


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ([trial(STANDARD, 2.0), trial(OTHER, 1.9, "inconclusive")], STANDARD),
        ([trial(STANDARD, 2.0), trial(OTHER, 1.5, "faster")], OTHER),
        ([trial(STANDARD, 2.0), trial(OTHER, 1.5, "faster"), trial(THIRD, 1.2, "faster")], THIRD),
        ([trial(STANDARD, 2.0), trial(OTHER, 1.0, "faster", "it misses a gate")], STANDARD),
        ([trial(STANDARD, 2.0), trial(OTHER, None)], STANDARD),
        (
            [trial(STANDARD, 2.0, "", "gate"), trial(OTHER, 3.0, "slower"), trial(THIRD, 2.5)],
            THIRD,
        ),
        ([trial(STANDARD, 2.0, "", "gate"), trial(OTHER, None)], None),
    ],
)
def test_the_fastest_beyond_doubt_that_holds_the_gates(trials, expected: str | None) -> None:
    chosen, reason = choose_form(trials)
    assert chosen == expected
    assert reason


@pytest.mark.parametrize(
    ("standard", "why"),
    [
        (trial(STANDARD, 2.0, "", "it agrees too rarely"), "misses a gate"),
        (trial(STANDARD, None, "", "onnxruntime ended with signal 4"), "could not be timed"),
    ],
)
def test_why_the_standard_form_is_not_kept(standard: FormTrial, why: str) -> None:
    reason = choose_form([standard, trial(OTHER, 3.0, "slower")])[1]
    assert reason == f"{STANDARD} {why}; this is the fastest that holds the gates."
