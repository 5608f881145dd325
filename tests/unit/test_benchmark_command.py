"""`toolchain benchmark` on files and logs, through the command line."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest
from command_line import in_process, toolchain
from tiny_onnx import write_float_onnx, write_int8_onnx
from tiny_tflite import write_float_tflite

from toolchain.cli import benchmarking
from toolchain.cli.benchmark import benchmark
from toolchain.errors import ToolchainError
from toolchain.measurement import Benchmark, load_benchmark
from toolchain.saved import save_value

LOGS = Path(__file__).parent / "phone_logs"
SHORT = [
    f"--set=benchmark.{key}"
    for key in ("runs=10", "seconds=0", "processes=2", "warmup_seconds=0", "batches=[1]")
]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return in_process("benchmark", *arguments, *SHORT)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    return [write_float_onnx(folder), write_int8_onnx(folder), write_float_tflite(folder)]


@pytest.fixture(scope="module")
def measured(files: list[Path], tmp_path_factory: pytest.TempPathFactory):
    output = tmp_path_factory.mktemp("results") / "results.json"
    done = toolchain("benchmark", *files, "--output", output, *SHORT)
    assert done.returncode == 0, done.stderr
    return done, output


def test_files_alone_are_timed_and_the_answer_is_told(measured, files: list[Path]) -> None:
    done, output = measured
    made = load_benchmark(output)
    assert [row.file for row in made.measurements] == [file.name for file in files]
    assert all(row.latency and row.top1 is None for row in made.measurements)
    assert made.measurements[2].nodes == {"XNNPACK": 4}
    assert len(made.comparisons) == 3
    assert made.command.startswith("toolchain benchmark")
    for told in ("one photo at a time", "differences, from the same rounds", "the machine was"):
        assert told in done.stderr


def test_the_json_on_stdout_is_the_schema_of_the_file(files: list[Path], tmp_path: Path) -> None:
    done = run(files[0], "--json")
    assert done.returncode == 0, done.stderr
    (tmp_path / "b.json").write_text(done.stdout)
    assert load_benchmark(tmp_path / "b.json").measurements[0].file == files[0].name


def changed(path: Path, to: Path, **changes: object) -> Path:
    """The results with something else in every row."""
    made = load_benchmark(path)
    rows = tuple(dataclasses.replace(row, **changes) for row in made.measurements)
    save_value(dataclasses.replace(made, measurements=rows), to)
    return to


def test_results_against_themselves_pass(measured, files: list[Path], tmp_path: Path) -> None:
    # Files of microseconds on a busy machine: what is surely ten times slower is not noise.
    done = run(*files, "--against", measured[1], "--set=benchmark.latency_limit=10")
    assert done.returncode == 0, done.stderr
    assert "are within their limits" in done.stderr


def test_a_regression_exits_with_three_and_names_the_file(
    measured, files: list[Path], tmp_path: Path
) -> None:
    smaller = changed(measured[1], tmp_path / "smaller.json", bytes=100)
    done = run(files[0], "--against", smaller)
    assert done.returncode == 3
    assert "tiny.fp32.onnx on cpu" in done.stderr
    assert "benchmark.latency_limit, accuracy_limit and size_limit" in done.stderr


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": 1}'])
def test_a_baseline_that_is_none_is_wrong_input(
    files: list[Path], tmp_path: Path, text: str
) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(text)
    done = run("--import", LOGS / "shell.log", "--runs", tmp_path, "--against", path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) < 40
    assert str(path) in done.stderr


@pytest.mark.parametrize("option", ["against", "output"])
def test_a_slip_is_told_before_anything_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setattr(benchmarking, "measure_targets", pytest.fail)
    missing = tmp_path / "nothing" / "b.json"
    with pytest.raises(ToolchainError) as caught:
        benchmark([Path("a.onnx")], **{option: missing})
    assert caught.value.where == str(missing)
    assert ("give the JSON of toolchain benchmark" in caught.value.remedy) == (option == "against")


def test_a_phones_log_becomes_results(tmp_path: Path) -> None:
    output = tmp_path / "phone.json"
    done = run("--import", LOGS / "shell.log", "--runs", tmp_path, "--output", output)
    assert done.returncode == 0, done.stderr
    made: Benchmark = load_benchmark(output)
    assert made.machine["phone"] == "Maker Model 7"
    assert json.loads(output.read_text())["schema"] == made.schema
    assert "digits.int8-qat.tflite" in done.stderr


def test_what_is_no_log_and_what_is_no_run_is_wrong_input(tmp_path: Path) -> None:
    done = run("--import", __file__, "--runs", tmp_path)
    assert (done.returncode, "found no 'Graph" in done.stderr) == (2, True)
    done = run(tmp_path)
    assert (done.returncode, "expected a run's folder" in done.stderr) == (2, True)
    done = run(tmp_path / "none.onnx")
    assert done.returncode == 2


def test_a_provider_that_did_not_load_is_told_with_its_library(files: list[Path]) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA built in")
    done = run(files[0], "--set=benchmark.providers=['cuda']")
    assert done.returncode == 4
    assert "libonnxruntime_providers_cuda.so" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 3
