"""Tiny real .onnx files through the harness: rows, failures, providers, turns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolchain.benchmark import harness
from toolchain.contract import METADATA_KEY, Contract, ExportedModel, TensorSpec
from toolchain.errors import InputError, MachineError
from toolchain.images.preprocess import Preprocessing
from toolchain.recipe.sections import BenchmarkSection
from toolchain.run import sha256_file
from toolchain.runtimes.isolate import IsolatedRunner
from toolchain.values import FileVerification, Interval, Verification

SIZE, CLASSES = 8, ("cat", "dog", "owl")
QUICK = BenchmarkSection(runs=20, warmup_seconds=0.0)


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


def tiny_onnx(path: Path) -> ExportedModel:
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
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", len(CLASSES)])],
        [numpy_helper.from_array(weights.astype(np.float32), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: promised.dumps()})
    onnx.save(model, path)
    return ExportedModel(path, sha256_file(path), promised)


def verification(model: ExportedModel) -> Verification:
    """As if verify had seen eight photos, six of them right."""
    file = FileVerification(
        file=model.path.name,
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
    return Verification(CLASSES, (file,), passed=True)


def truncated(good: ExportedModel, path: Path) -> ExportedModel:
    data = good.path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return ExportedModel(path, sha256_file(path), good.contract)


@pytest.fixture
def good(tmp_path: Path) -> ExportedModel:
    return tiny_onnx(tmp_path / "tiny.fp32.onnx")


def test_a_row_has_every_number(good: ExportedModel) -> None:
    made = harness.benchmark([good], QUICK, verification(good), "make benchmark")
    (row,) = made.measurements
    assert (row.file, row.runtime, row.provider) == ("tiny.fp32.onnx", "onnxruntime", "cpu")
    assert (row.threads, row.batch, row.failure, row.sha256) == (1, 1, "", good.sha256)
    latency = row.latency
    assert latency
    assert latency.runs == QUICK.runs
    assert 0 < latency.p50_ms.low <= latency.p50_ms.value <= latency.p50_ms.high
    assert latency.p50_ms.value <= latency.p90_ms.value <= latency.p99_ms.value
    assert latency.throughput.value > 0
    assert row.load_ms > 0
    assert row.first_ms > 0
    assert row.peak_mib > 1
    assert row.bytes == good.path.stat().st_size
    assert 0 < row.zipped_bytes < 1.1 * row.bytes
    assert (row.top1.value, row.top5, row.f1) == (0.75, None, pytest.approx(0.7302, abs=1e-4))
    assert made.command == "make benchmark"
    assert made.machine["onnxruntime"] == onnxruntime.__version__


def test_every_thread_count_is_a_row(good: ExportedModel) -> None:
    section = BenchmarkSection(threads=(1, 2), runs=10, warmup_seconds=0.0)
    made = harness.benchmark([good], section, None, "")
    assert [row.threads for row in made.measurements] == [1, 2]
    assert [row.top1 for row in made.measurements] == [None, None]


def test_a_damaged_file_is_a_row_and_the_others_keep_theirs(
    good: ExportedModel, tmp_path: Path
) -> None:
    bad = truncated(good, tmp_path / "damaged.onnx")
    made = harness.benchmark([bad, good], QUICK, None, "")
    failed, measured = made.measurements
    assert failed.file == "damaged.onnx"
    assert failed.failure
    assert (failed.latency, failed.load_ms, failed.peak_mib) == (None, None, None)
    assert measured.failure == ""
    assert measured.latency.runs == QUICK.runs


def test_a_child_that_dies_in_the_middle_is_a_row(
    good: ExportedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doomed = tiny_onnx(tmp_path / "doomed.onnx")
    asked = IsolatedRunner.time

    def dies(runner: IsolatedRunner, runs: int) -> np.ndarray:
        # Two images at once are more than one round's worth: this is the first timed request.
        if runner._path == doomed.path and runs == 2:
            runner._process.kill()
        return asked(runner, runs)

    monkeypatch.setattr(IsolatedRunner, "time", dies)
    failed, measured = harness.benchmark([doomed, good], QUICK, None, "").measurements
    assert "signal 9" in failed.failure
    assert failed.latency is None
    assert measured.latency.runs == QUICK.runs


def test_a_provider_that_is_not_there_ends_it(good: ExportedModel) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA built in")
    section = BenchmarkSection(providers=("cpu", "cuda"), runs=10, warmup_seconds=0.0)
    with pytest.raises(MachineError, match="CUDA"):
        harness.benchmark([good], section, None, "")


def test_a_gpu_provider_without_an_onnx_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiny.fp32.tflite"
    path.write_bytes(b"never opened")
    model = ExportedModel(path, "", contract("tflite"))
    with pytest.raises(InputError, match=r"expected an \.onnx file"):
        harness.benchmark([model], BenchmarkSection(providers=("cuda",)), None, "")


def test_litert_runs_on_the_cpu_and_onnxruntime_on_every_provider(tmp_path: Path) -> None:
    files = [ExportedModel(tmp_path / kind, "", contract(kind)) for kind in ("tflite", "onnx")]
    made = harness.setups(files, ("cpu", "cuda"), threads=2)
    assert [(one.model.contract.format, one.provider) for one in made] == [
        ("tflite", "cpu"),
        ("onnx", "cpu"),
        ("onnx", "cuda"),
    ]


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


def test_files_take_turns(
    good: ExportedModel, tmp_path: Path, asked: list[tuple[str, int]]
) -> None:
    other = tiny_onnx(tmp_path / "other.onnx")
    harness.benchmark([good, other], QUICK, None, "")
    timed = [name for name, runs in asked if runs == QUICK.runs // harness.ROUNDS]
    assert timed == [good.path.name, "other.onnx"] * harness.ROUNDS


def test_one_request_stays_short_whatever_the_number_of_runs(
    good: ExportedModel, asked: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "_REQUEST_SECONDS", 0.0)
    (row,) = harness.benchmark(
        [good], BenchmarkSection(runs=50, warmup_seconds=0.0), None, ""
    ).measurements
    assert row.latency.runs == 50
    assert max(runs for _, runs in asked) == harness._RETURN_RUNS


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
    harness.benchmark([good, bad], QUICK, None, "")
    assert len(opened) == 2
    assert all(runner._process.poll() is not None for runner in opened)
