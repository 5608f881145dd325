"""Tiny real .onnx files through the harness: rows, failures, providers, turns."""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolchain.benchmark import harness, lane, plan
from toolchain.benchmark.candidate import candidates
from toolchain.benchmark.harness import benchmark
from toolchain.benchmark.plan import ROUNDS, plan_of, quick
from toolchain.benchmark.preparation import Photos, made_up
from toolchain.contract import METADATA_KEY, Contract, ExportedModel, TensorSpec
from toolchain.errors import ImageError, InputError, MachineError, ModelError
from toolchain.files import sha256_file
from toolchain.images.preprocess import Preprocessing
from toolchain.measurement import Benchmark, load_benchmark
from toolchain.recipe.sections import BenchmarkSection
from toolchain.runtimes.isolate import IsolatedRunner
from toolchain.saved import save_value
from toolchain.values import (
    FileVerification,
    Interval,
)

SIZE, CLASSES = 8, ("cat", "dog", "owl")
QUICK = BenchmarkSection(runs=16, seconds=0.0, processes=2, warmup_seconds=0.0, batches=(1,))
PHOTOS = made_up()


def contract(kind: str = "onnx") -> Contract:
    return Contract(
        name="tiny",
        format=kind,
        precision="fp32",
        labels=CLASSES,
        preprocessing=Preprocessing.of("symmetric", SIZE),
        input=TensorSpec("image", (-1, SIZE, SIZE, 3), "float32"),
        output=TensorSpec("probabilities", (-1, len(CLASSES)), "float32"),
        lineage={},
    )


def tiny_onnx(path: Path, batch: int | str = "n") -> ExportedModel:
    """Flatten, a constant matrix, softmax; the contract in the file's metadata."""
    promised = contract()
    weights = np.random.default_rng(1).normal(size=(SIZE * SIZE * 3, len(CLASSES)))
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, len(CLASSES)])],
        [numpy_helper.from_array(weights.astype(np.float32), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: promised.dumps()})
    onnx.save(model, path)
    return ExportedModel(path, sha256_file(path), promised)


def verification() -> FileVerification:
    """As if verify had seen eight photos, six of them right."""
    return FileVerification(
        file="tiny.fp32.onnx",
        format="onnx",
        precision="fp32",
        runtime="onnxruntime",
        images=8,
        agreement=1.0,
        max_difference=0.0,
        accuracy=Interval(0.75, 0.41, 0.93),
        reference_accuracy=0.75,
        confusion=((3, 1, 0), (0, 2, 1), (0, 0, 1)),
        failures=(),
    )


def truncated(good: ExportedModel, path: Path) -> ExportedModel:
    data = good.path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return ExportedModel(path, sha256_file(path), good.contract)


def measure(
    *models: ExportedModel,
    section: BenchmarkSection = QUICK,
    verified: dict[str, FileVerification] | None = None,
) -> Benchmark:
    chosen = candidates(models, section)
    return benchmark(chosen, section, verified or {}, PHOTOS, command="make benchmark")


@pytest.fixture(autouse=True)
def _no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine starting a process takes longer than the plan thinks, and cuts turns."""
    monkeypatch.setattr(plan, "_START_SECONDS", 60.0)


@pytest.fixture
def good(tmp_path: Path) -> ExportedModel:
    return tiny_onnx(tmp_path / "tiny.fp32.onnx")


def test_a_row_has_every_number(good: ExportedModel) -> None:
    made = measure(good, verified={good.sha256: verification()})
    (row,) = made.measurements
    assert (row.file, row.runtime, row.provider) == ("tiny.fp32.onnx", "onnxruntime", "cpu")
    assert (row.threads, row.batch, row.failure, row.sha256) == (1, 1, "", good.sha256)
    latency = row.latency
    assert latency
    assert (latency.runs, latency.rounds) == (QUICK.runs, 2 * ROUNDS)
    assert 0 < latency.p50_ms.low <= latency.p50_ms.value <= latency.p50_ms.high
    assert latency.p50_ms.value <= latency.p90_ms.value <= latency.p99_ms.value
    assert latency.throughput.value > 0
    assert row.load_ms > 0
    assert row.first_ms > 0
    assert row.peak_mib > 1
    assert row.bytes == good.path.stat().st_size
    assert 0 < row.zipped_bytes < 1.1 * row.bytes
    assert row.nodes == {"CPUExecutionProvider": 3}
    assert (row.top1.value, row.top5, row.f1) == (0.75, None, pytest.approx(0.7302, abs=1e-4))


def test_the_session_is_described(good: ExportedModel) -> None:
    made = measure(good)
    assert made.command == "make benchmark"
    assert made.machine["onnxruntime"] == onnxruntime.__version__
    assert made.noise.verdict in ("quiet", "noisy")
    (prepared,) = made.preparation
    assert prepared.size == SIZE
    assert prepared.decode_ms.value > 0
    assert prepared.resize_ms.value > 0
    assert load_round_trip(made) == made


def load_round_trip(made: Benchmark) -> Benchmark:
    with tempfile.TemporaryDirectory() as folder:
        save_value(made, Path(folder) / "b.json")
        return load_benchmark(Path(folder) / "b.json")


def test_a_photo_that_is_none_is_told_before_anything_is_timed(
    good: ExportedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(IsolatedRunner, "open", pytest.fail)
    with pytest.raises(ImageError):
        benchmark(candidates([good], QUICK), QUICK, {}, Photos("", (b"no photo",)), command="")


def test_every_thread_count_is_a_row_and_compared_with_its_like(
    good: ExportedModel, tmp_path: Path
) -> None:
    other = tiny_onnx(tmp_path / "other.onnx")
    made = measure(good, other, section=dataclasses.replace(QUICK, threads=(1, 2)))
    assert [row.threads for row in made.measurements] == [1, 1, 2, 2]
    assert [row.top1 for row in made.measurements] == [None] * 4
    assert [(one.row, one.other) for one in made.comparisons] == [(1, 0), (3, 2)]


def a_millisecond_each(_runner: IsolatedRunner, runs: int) -> np.ndarray:
    return np.full(runs, 1_000_000)


def test_a_batch_that_the_graph_takes_is_a_row(
    good: ExportedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(IsolatedRunner, "time", a_millisecond_each)
    fixed = tiny_onnx(tmp_path / "fixed.onnx", batch=1)
    made = measure(good, fixed, section=dataclasses.replace(QUICK, batches=(1, 4)))
    found = {(row.file, row.batch): row.latency for row in made.measurements}
    assert set(found) == {(good.path.name, 1), (good.path.name, 4), ("fixed.onnx", 1)}
    single, many = found[good.path.name, 1], found[good.path.name, 4]
    assert single.p50_ms.value == many.p50_ms.value == 1.0
    assert single.throughput.value == pytest.approx(1000)
    assert many.throughput.value == pytest.approx(4000)


def test_a_damaged_file_is_a_row_and_the_others_keep_theirs(
    good: ExportedModel, tmp_path: Path
) -> None:
    bad = truncated(good, tmp_path / "damaged.onnx")
    made = measure(bad, good)
    failed, measured = made.measurements
    assert failed.file == "damaged.onnx"
    assert failed.failure
    assert (failed.latency, failed.load_ms, failed.peak_mib) == (None, None, None)
    assert measured.failure == ""
    assert measured.latency.runs == QUICK.runs
    assert made.comparisons == ()


@pytest.mark.parametrize(("batches", "batch"), [((1,), 1), ((1, 4), 4)])
def test_a_child_that_dies_is_a_row(
    good: ExportedModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    batches: tuple[int, ...],
    batch: int,
) -> None:
    doomed = tiny_onnx(tmp_path / "doomed.onnx")
    asked = IsolatedRunner.prepare

    def dies(runner: IsolatedRunner, pixels: np.ndarray) -> bool:
        if runner._path == doomed.path and len(pixels) == batch:
            os.kill(runner.pid, signal.SIGKILL)
        return asked(runner, pixels)

    monkeypatch.setattr(IsolatedRunner, "prepare", dies)
    made = measure(doomed, good, section=dataclasses.replace(QUICK, batches=batches))
    rows = {(row.file, row.batch): row for row in made.measurements}
    assert "signal 9" in rows["doomed.onnx", batch].failure
    assert rows["doomed.onnx", batch].latency is None
    # What was measured before it died, and what others measured, stays.
    assert all(row.latency for key, row in rows.items() if key != ("doomed.onnx", batch))


def test_after_a_batch_that_fails_the_others_are_timed_in_as_many_processes(
    good: ExportedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doomed = tiny_onnx(tmp_path / "doomed.onnx")
    asked = IsolatedRunner.prepare

    def fails(runner: IsolatedRunner, pixels: np.ndarray) -> bool:
        if runner._path == doomed.path and len(pixels) == 4:
            raise ModelError("too many")
        return asked(runner, pixels)

    monkeypatch.setattr(IsolatedRunner, "prepare", fails)
    made = measure(doomed, good, section=dataclasses.replace(QUICK, batches=(1, 4, 2)))
    rows = {(row.file, row.batch): row for row in made.measurements}
    assert rows["doomed.onnx", 4].failure == "too many"
    assert {rows[name, 2].latency.rounds for name in ("doomed.onnx", good.path.name)} == {2}
    assert len(made.comparisons) == 2


def test_a_provider_that_is_not_there_ends_it(good: ExportedModel) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA built in")
    section = dataclasses.replace(QUICK, providers=("cpu", "cuda"))
    with pytest.raises(MachineError, match="CUDA") as caught:
        measure(good, section=section)
    assert "libonnxruntime_providers_cuda.so" in caught.value.where
    assert caught.value.exit_code == 4


def test_a_gpu_provider_without_an_onnx_file_is_refused(tmp_path: Path) -> None:
    model = ExportedModel(tmp_path / "tiny.fp32.tflite", "", contract("tflite"))
    with pytest.raises(InputError, match=r"expected an \.onnx file"):
        candidates([model], BenchmarkSection(providers=("cuda",)))


def test_a_gpu_provider_without_onnxruntime_is_refused(tmp_path: Path) -> None:
    files = [ExportedModel(tmp_path / kind, "", contract(kind)) for kind in ("tflite", "onnx")]
    with pytest.raises(InputError, match=r"found benchmark\.runtimes litert"):
        candidates(files, BenchmarkSection(providers=("cuda",), runtimes=("litert",)))


def test_nothing_to_time_is_no_result() -> None:
    section = dataclasses.replace(QUICK, runtimes=("keras",))
    with pytest.raises(InputError, match=r"benchmark\.runtimes keras can run, received none"):
        benchmark([], section, {}, Photos("", ()), command="")


def test_litert_runs_on_the_cpu_and_onnxruntime_on_every_provider(tmp_path: Path) -> None:
    files = [ExportedModel(tmp_path / kind, "", contract(kind)) for kind in ("tflite", "onnx")]
    section = BenchmarkSection(providers=("cpu", "cuda"), threads=(2,))
    made = candidates(files, section)
    assert [(one.format, one.provider, one.threads) for one in made] == [
        ("tflite", "cpu", 2),
        ("onnx", "cpu", 2),
        ("onnx", "cuda", 2),
    ]
    only = candidates(files, BenchmarkSection(runtimes=("litert",)))
    assert [one.format for one in only] == ["tflite"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    """Every request to time, as (file, runs), in order."""
    order: list[tuple[str, int]] = []
    real = IsolatedRunner.time

    def noted(runner: IsolatedRunner, runs: int) -> np.ndarray:
        order.append((runner._path.name, runs))
        return real(runner, runs)

    monkeypatch.setattr(IsolatedRunner, "time", noted)
    return order


def test_files_take_turns_in_an_order_drawn_anew(
    good: ExportedModel, tmp_path: Path, asked: list[tuple[str, int]]
) -> None:
    other = tiny_onnx(tmp_path / "other.onnx")
    section = dataclasses.replace(QUICK, runs=2 * QUICK.processes * ROUNDS)
    measure(good, other, section=section)
    timed = [name for name, runs in asked if runs == 2]
    rounds = [tuple(timed[at : at + 2]) for at in range(0, len(timed), 2)]
    assert len(rounds) == QUICK.processes * ROUNDS
    assert all(set(pair) == {good.path.name, "other.onnx"} for pair in rounds)
    assert len(set(rounds)) == 2


def test_one_request_stays_short_whatever_the_number_of_runs(
    good: ExportedModel, asked: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "_REQUEST_SECONDS", 0.0)
    (row,) = measure(good, section=dataclasses.replace(QUICK, runs=50)).measurements
    assert row.latency.runs >= 50
    assert max(runs for _, runs in asked) == lane._RETURN_RUNS


def test_turns_are_cut_short_when_the_time_is_over(
    good: ExportedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "_START_SECONDS", 0.0)
    section = dataclasses.replace(QUICK, runs=100_000, processes=50)
    (row,) = measure(good, section=section).measurements
    assert row.latency.runs < 1000
    assert row.latency.rounds == 2 * ROUNDS


def processes(good: ExportedModel, width: float) -> int:
    """How many it was timed in, of `QUICK.processes` that were asked for."""
    (row,) = measure(good, section=dataclasses.replace(QUICK, width=width)).measurements
    return row.latency.rounds // ROUNDS


def test_a_width_is_judged_by_more_than_two_processes_and_then_reached(
    good: ExportedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(IsolatedRunner, "time", a_millisecond_each)
    assert processes(good, width=0.01) == harness._LEAST_PROCESSES > QUICK.processes


def test_a_width_that_is_not_reached_is_gone_on_for_until_time_is_over(
    good: ExportedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that knows no busy machine: a process is four looks at it, so 0.6 of 2 s."""
    looks = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: 0.15 * next(looks))
    monkeypatch.setattr(harness, "time", clock)
    monkeypatch.setattr(plan, "_START_SECONDS", 1.0)
    assert processes(good, width=1e-9) == 4 > harness._LEAST_PROCESSES


def test_no_child_outlives_the_benchmark(
    good: ExportedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[IsolatedRunner] = []
    real = IsolatedRunner.__init__

    def noted(runner: IsolatedRunner, *args: object, **kwargs: object) -> None:
        opened.append(runner)
        real(runner, *args, **kwargs)

    monkeypatch.setattr(IsolatedRunner, "__init__", noted)
    bad = truncated(good, tmp_path / "damaged.onnx")
    measure(good, bad)
    assert len(opened) == QUICK.processes + 1
    assert all(runner._process.poll() is not None for runner in opened)


def test_the_plan_of_a_look_is_short_and_has_no_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    look = quick(BenchmarkSection())
    assert look.runtimes == ("litert", "onnxruntime")
    assert 4 * plan_of(look).limit_s <= 20
    # Four files and the Keras model.
    assert 5 * plan_of(BenchmarkSection()).limit_s <= 120
