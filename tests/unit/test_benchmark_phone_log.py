"""Logs of benchmark_model as phones and boards print them, read into rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_network import contract

from toolchain.benchmark.phone_log import read_phone_log
from toolchain.contract import ExportedModel
from toolchain.errors import InputError
from toolchain.measurement import Benchmark, load_benchmark
from toolchain.saved import save_value

LOGS = Path(__file__).parent / "phone_logs"


def read(name: str) -> Benchmark:
    return read_phone_log((LOGS / name).read_text(), name)


def test_a_log_of_adb_shell() -> None:
    made = read("shell.log")
    (row,) = made.measurements
    assert (row.file, row.runtime, row.provider, row.threads) == (
        "digits.int8-qat.tflite",
        "litert",
        "cpu",
        4,
    )
    latency = row.latency
    assert (latency.runs, latency.p50_ms.value) == (200, 0.119)
    assert latency.p50_ms.low < 0.119 < latency.p50_ms.high
    assert (latency.p90_ms, latency.p99_ms) == (None, None)
    assert latency.throughput.value == pytest.approx(1000 / 0.1202)
    assert (row.load_ms, row.first_ms, row.peak_mib) == (1.234, 0.31, 4.25)
    assert row.nodes == {"TfLiteXNNPackDelegate": 68, "LiteRT kernels": 2}
    assert row.bytes == 602_000
    assert made.machine == {"phone": "Maker Model 7", "android": "16", "processor": "Chips C-1"}
    assert made.date == "2026-11-02T10:11:12+00:00"
    assert made.command.startswith("benchmark_on_phone.py")
    assert made.noise is None


@pytest.mark.parametrize(("size", "known"), [(602_003, True), (602_100, False)])
def test_an_export_of_another_size_is_not_what_was_timed(
    tmp_path: Path, size: int, known: bool
) -> None:
    path = tmp_path / "digits.int8-qat.tflite"
    path.write_bytes(bytes(size))
    model = ExportedModel(path, "a" * 64, contract("tflite"))
    text = (LOGS / "shell.log").read_text()
    (row,) = read_phone_log(text, "shell.log", {path.name: model}).measurements
    assert row.sha256 == ("a" * 64 if known else "")
    assert (row.bytes, row.zipped_bytes is None) == (602_003 if known else 602_000, not known)


def test_a_log_of_logcat_with_two_models() -> None:
    made = read("logcat.log")
    assert [row.file for row in made.measurements] == ["a.fp32.tflite", "b.int8.tflite"]
    first, second = made.measurements
    assert (first.threads, second.threads) == (4, 2)
    assert (first.provider, second.provider) == ("gpu", "cpu")
    assert first.latency.p50_ms.value == 141.253
    assert second.latency.runs == 50
    # 1.24027e+06 is how the tool writes a mean of more than a second.
    assert second.latency.throughput.value == pytest.approx(1000 / 1240.27)
    assert made.machine == {"phone": "logcat"}


def test_an_old_tool_and_a_run_that_broke_off_give_rows_that_say_so() -> None:
    made = read("old.log")
    without_median, broken = made.measurements
    assert without_median.latency is None
    assert "no median" in without_median.failure
    assert "33.2 ms" in without_median.failure
    assert without_median.load_ms == 0.855
    assert broken.latency is None
    assert "ends before" in broken.failure


def test_the_rows_are_the_same_schema_as_everybodys(tmp_path: Path) -> None:
    made = read("shell.log")
    save_value(made, tmp_path / "phone.json")
    assert load_benchmark(tmp_path / "phone.json") == made


@pytest.mark.parametrize("text", ["", "hello", "count=50 first=1", "\0" * 100, "Graph: []"])
def test_what_is_no_log_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="found no 'Graph"):
        read_phone_log(text, "x.log")


def test_a_log_of_endless_lines_is_read_or_refused_quickly() -> None:
    line = "Graph: [" + "a" * 900 + "]\n" + "count=" + "9" * 100_000 + "\n"
    made = read_phone_log(line * 20, "x.log")
    assert all(row.latency is None for row in made.measurements)


@pytest.mark.parametrize("number", ["0", "-5", "nan", "1e+99"])
def test_numbers_that_no_run_gives_are_no_latency(number: str) -> None:
    log = (LOGS / "shell.log").read_text().replace("median=119", f"median={number}")
    (row,) = read_phone_log(log, "x.log").measurements
    assert row.latency is None or row.latency.p50_ms.value > 1e6
