"""report.md, as a pull request shows it."""

from __future__ import annotations

import dataclasses

import pytest
import report_values as values

from toolchain.report import words
from toolchain.report.markdown import render_markdown
from toolchain.values import Interval, Verification

MOST_LINES = 40


def test_the_answer_the_tables_and_the_command() -> None:
    text = render_markdown(values.report())
    assert "**All 4 files passed every gate on 360 test images.**" in text
    assert "**.tflite: digits.int8-qat.tflite.**" in text
    assert "| digits.int8-qat.onnx | passed | 97.8 % | 96.3 to 99.3 | 99.4 % | 0.062 |" in text
    assert values.report().command in text
    assert len(text.splitlines()) <= MOST_LINES


def test_every_row_of_a_table_has_as_many_cells_as_its_header() -> None:
    rows = (values.measured("digits.fp32.onnx", failure="a | b"), *values.BENCHMARK.measurements)
    benchmark = dataclasses.replace(values.BENCHMARK, measurements=rows)
    text = render_markdown(values.report(benchmark=benchmark)).replace("\\|", "")
    tables = [part for part in text.split("\n\n") if part.startswith("|")]
    assert len(tables) == 2
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_missed_gates_are_listed() -> None:
    files = (values.verified("digits.fp32.onnx", 9, ("difference 0.2 is above 0.0001",)),)
    text = render_markdown(values.report(Verification(values.DIGITS, files, passed=False)))
    assert "- digits.fp32.onnx: difference 0.2 is above 0.0001" in text


def test_names_are_no_markup() -> None:
    text = render_markdown(values.report(name="<img src=x> [a](b) *c*"))
    assert text.startswith("# &lt;img src=x&gt; \\[a\\](b) \\*c\\*\n")


@pytest.mark.parametrize(
    ("share", "shown"),
    [(1.0, "100.0 %"), (0.99999, "> 99.9 %"), (0.0, "0.0 %"), (0.0001, "< 0.1 %"), (None, "–")],
)
def test_a_share_is_never_rounded_to_all_or_nothing(share: float | None, shown: str) -> None:
    assert words.percent(share) == shown


def test_an_interval_is_in_percent() -> None:
    assert words.interval(Interval(0.978, 0.9577, 0.9886)) == "95.8 to 98.9"


@pytest.mark.parametrize(
    ("value", "shown"), [(0.2134, "0.213"), (1.957, "1.96"), (24.41, "24.4"), (111.2, "111")]
)
def test_milliseconds_have_three_digits(value: float, shown: str) -> None:
    assert words.milliseconds(value) == shown
