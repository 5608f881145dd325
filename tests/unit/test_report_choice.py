"""Which file a report tells the reader to ship."""

from __future__ import annotations

import dataclasses

import report_values as values

from toolchain.measurement import Benchmark, Measurement
from toolchain.report.choice import Choice, choose
from toolchain.values import (
    FileVerification,
    Verification,
)

GATE_POINTS = 0.5


def answer(
    files: list[FileVerification], rows: list[Measurement] | None, points: float = GATE_POINTS
) -> Choice:
    verification = Verification(classes=values.DIGITS, files=tuple(files), passed=True)
    benchmark = None
    if rows is not None:
        benchmark = dataclasses.replace(values.BENCHMARK, measurements=tuple(rows))
    (choice,) = choose(verification, benchmark, points)
    return choice


FP32, INT8 = "digits.fp32.onnx", "digits.int8-qat.onnx"


def test_the_fastest_that_is_accurate_enough() -> None:
    files = [values.verified(FP32, 7), values.verified(INT8, 8)]
    choice = answer(files, [values.measured(FP32, 2.0), values.measured(INT8, 1.0)])
    assert choice.file == INT8
    assert choice.p50_ms == 1.0
    assert "2.0× faster" in choice.reason
    assert "0.3 points less accuracy" in choice.reason


def test_fp32_when_it_is_faster() -> None:
    files = [values.verified(FP32, 7), values.verified(INT8, 8)]
    choice = answer(files, [values.measured(FP32, 1.0), values.measured(INT8, 1.5)])
    assert choice.file == FP32
    assert "2.7× larger" in choice.reason


def test_a_fast_file_beyond_the_gate_is_not_shipped() -> None:
    files = [values.verified(FP32, 7), values.verified(INT8, 20)]
    rows = [values.measured(FP32, 2.0), values.measured(INT8, 1.0)]
    choice = answer(files, rows)
    assert choice.file == FP32
    assert "lost at most 0.5 points" in choice.reason
    assert answer(files, rows, points=10.0).file == INT8


def test_a_file_that_missed_a_gate_is_not_shipped() -> None:
    files = [values.verified(FP32, 7), values.verified(INT8, 7, ("agreement 0.9 < 0.99",))]
    choice = answer(files, [values.measured(FP32, 2.0), values.measured(INT8, 1.0)])
    assert choice.file == FP32


def test_none_when_all_missed_a_gate() -> None:
    choice = answer([values.verified(FP32, 7, ("difference",))], [values.measured(FP32)])
    assert choice.file == ""
    assert "none should be shipped" in choice.reason


def test_a_file_that_crashed_in_the_benchmark_is_not_chosen() -> None:
    files = [values.verified(FP32, 7), values.verified(INT8, 7)]
    rows = [values.measured(FP32, 2.0), values.measured(INT8, 0.1, failure="crashed: signal 11")]
    assert answer(files, rows).file == FP32


def test_without_a_benchmark_the_most_accurate() -> None:
    choice = answer([values.verified(INT8, 8), values.verified(FP32, 7)], None)
    assert choice.file == FP32
    assert choice.p50_ms is None
    assert "not measured" in choice.reason


def test_files_are_compared_with_the_fewest_threads() -> None:
    files = [values.verified(FP32, 7), values.verified(INT8, 7)]
    rows = [
        values.measured(FP32, 0.5, threads=4),
        values.measured(INT8, 0.9, threads=4),
        values.measured(FP32, 2.0, threads=1),
        values.measured(INT8, 1.0, threads=1),
    ]
    choice = answer(files, rows)
    assert (choice.file, choice.p50_ms) == (INT8, 1.0)


def test_one_answer_a_format() -> None:
    choices = choose(values.VERIFICATION, values.BENCHMARK, GATE_POINTS)
    assert [(choice.format, choice.file) for choice in choices] == [
        ("tflite", "digits.int8-qat.tflite"),
        ("onnx", "digits.int8-qat.onnx"),
    ]


def test_no_files_no_answer() -> None:
    nothing = Verification(classes=(), files=(), passed=False)
    benchmark: Benchmark | None = None
    assert choose(nothing, benchmark, GATE_POINTS) == ()
