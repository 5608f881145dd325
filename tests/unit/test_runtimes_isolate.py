"""A file in its child process: answers, clocks, and every way in which the child can end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_network import PREPROCESSING, contract, images, probabilities
from tiny_onnx import write_float_onnx, write_int8_onnx
from tiny_tflite import (
    build_tflite,
    uint8_contract,
    write_float_tflite,
    write_int8_tflite,
    write_tflite,
)

from toolchain.contract import TensorSpec
from toolchain.errors import ExitCode, InputError, MachineError, ModelError
from toolchain.images.preprocess import Preprocessing
from toolchain.runtimes import IsolatedRunner
from toolchain.runtimes.base import to_input

# Largest difference of a probability from the network written down in numpy.
TOLERANCE = {"fp32": 1e-5, "int8": 0.01}


@pytest.mark.parametrize("write", [write_float_onnx, write_float_tflite])
def test_float_files_answer_as_numpy_does(write, tmp_path: Path) -> None:
    pixels, _ = images(20)
    with IsolatedRunner.open(write(tmp_path)) as runner:
        found = runner.run(pixels)
    assert found.dtype == np.float32
    assert np.abs(found - probabilities(pixels)).max() < TOLERANCE["fp32"]


@pytest.mark.parametrize("write", [write_int8_onnx, write_int8_tflite])
def test_int8_files_answer_nearly_as_numpy_does(write, tmp_path: Path) -> None:
    pixels, _ = images(20)
    with IsolatedRunner.open(write(tmp_path)) as runner:
        found = runner.run(pixels)
    assert np.abs(found - probabilities(pixels)).max() < TOLERANCE["int8"]


def test_uint8_file_takes_raw_bytes_and_is_dequantized(tmp_path: Path) -> None:
    pixels, _ = images(10)
    build = build_tflite("int8", "int8", io="uint8")
    path = write_tflite(tmp_path / "tiny.int8-qat.tflite", build, uint8_contract())
    with IsolatedRunner.open(path) as runner:
        stored = runner.run_tensor(pixels[:1])
        found = runner.run(pixels)
    assert stored.dtype == np.uint8
    assert np.abs(found - probabilities(pixels)).max() < TOLERANCE["int8"]


@pytest.mark.parametrize("write", [write_float_onnx, write_float_tflite])
def test_a_batch_answers_as_its_images_do(write, tmp_path: Path) -> None:
    pixels, _ = images(5)
    with IsolatedRunner.open(write(tmp_path)) as runner:
        tensor = to_input(pixels, runner.contract)
        together = runner.run_tensor(tensor)
        alone = runner.run_tensor(tensor[:1])
        again = runner.run_tensor(tensor)
    assert together.shape == (5, 3)
    assert np.abs(together[:1] - alone).max() < TOLERANCE["fp32"]
    assert np.array_equal(together, again)


def test_clocks_and_memory_are_the_childs(tmp_path: Path) -> None:
    with IsolatedRunner.open(write_float_onnx(tmp_path)) as runner:
        assert np.isnan(runner.first_ms)
        runner.prepare(images(1)[0])
        started = time.perf_counter_ns()
        times = runner.time(20)
        outside = time.perf_counter_ns() - started
        assert times.dtype == np.int64
        assert times.shape == (20,)
        assert 0 < times.sum() < outside
        assert runner.first_ms > 0
        assert runner.load_ms > 0
        # numpy and a runtime take some 20 MiB; the parent with pytest is not counted in.
        assert 20 < runner.peak_mib() < 1000


def test_two_files_can_be_timed_in_turns(tmp_path: Path) -> None:
    with (
        IsolatedRunner.open(write_float_onnx(tmp_path)) as first,
        IsolatedRunner.open(write_float_tflite(tmp_path)) as second,
    ):
        for runner in (first, second):
            runner.prepare(images(1)[0])
        rounds = [(len(first.time(3)), len(second.time(3))) for _ in range(3)]
    assert rounds == [(3, 3)] * 3


def test_killed_child_is_a_model_error(tmp_path: Path) -> None:
    with IsolatedRunner.open(write_float_onnx(tmp_path)) as runner:
        os.kill(runner.pid, signal.SIGSEGV)
        with pytest.raises(ModelError, match=r"cannot be run \(crashed: signal 11 SIGSEGV\)"):
            runner.run(images(4)[0])


def test_child_that_does_not_answer_is_a_model_error(tmp_path: Path) -> None:
    with IsolatedRunner.open(write_float_onnx(tmp_path)) as runner:
        # Opening may take seconds on a busy machine.
        runner._timeout_s = 0.5
        os.kill(runner.pid, signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(ModelError, match=r"no answer within 0\.5 s"):
            runner.run(images(4)[0])
        assert time.monotonic() - started < 10


def test_a_stopped_child_cannot_block_a_large_request(tmp_path: Path) -> None:
    """A pipe holds 64 KiB: writing must end with the timeout as reading does."""
    with IsolatedRunner.open(write_float_tflite(tmp_path)) as runner:
        runner._timeout_s = 0.5
        os.kill(runner.pid, signal.SIGSTOP)
        with pytest.raises(ModelError, match="no answer"):
            runner.run_tensor(np.zeros((400, 8, 8, 3), np.float32))


def test_memory_beyond_the_limit_is_a_model_error(tmp_path: Path) -> None:
    with IsolatedRunner.open(write_float_onnx(tmp_path), memory_mib=1024) as runner:
        # 96 MB of input make maps of 128 MB each, and the child keeps more than one copy.
        large = np.zeros((500_000, 8, 8, 3), np.uint8)
        with pytest.raises(ModelError, match=r"1,024 MiB|crashed|damaged"):
            runner.prepare(large)


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_absent_provider_is_never_replaced_by_the_cpu(provider: str, tmp_path: Path) -> None:
    import onnxruntime

    named = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}[provider]
    if named in onnxruntime.get_available_providers():
        pytest.skip(f"{named} is built in here")
    with pytest.raises(MachineError, match=named) as caught:
        IsolatedRunner.open(write_float_onnx(tmp_path), provider=provider)
    assert caught.value.exit_code == ExitCode.MACHINE == 4


def test_tflite_on_a_gpu_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="cuda"):
        IsolatedRunner.open(write_float_tflite(tmp_path), provider="cuda")


def test_wrong_pixels_are_told_with_both_shapes(tmp_path: Path) -> None:
    with (
        IsolatedRunner.open(write_float_onnx(tmp_path)) as runner,
        pytest.raises(InputError, match=r"\[n, 8, 8, 3\], received uint8 \[2, 9, 9, 3\]"),
    ):
        runner.run(np.zeros((2, 9, 9, 3), np.uint8))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"result": TensorSpec("output", (1, 3), "uint8", 1 / 256, 7)}, "zero point 7"),
        ({"source": TensorSpec("input", (1, 8, 8, 3), "uint8", 0.01, 128)}, "scale 0.01"),
        ({"labels": ("red", "green")}, r"an output \[n, 2\]"),
        ({"preprocessing": Preprocessing.of("symmetric", 9)}, r"an input \[n, 9, 9, 3\]"),
    ],
)
def test_contract_that_does_not_fit_the_file_is_refused(changed, told: str, tmp_path: Path) -> None:
    build = build_tflite("int8", "int8", io="uint8")
    right = uint8_contract()
    fields = {"source": right.input, "result": right.output, "preprocessing": PREPROCESSING}
    wrong = contract("tflite", "int8-qat", **{**fields, **changed})
    path = write_tflite(tmp_path / "tiny.int8-qat.tflite", build, wrong)
    with pytest.raises(ModelError, match=told):
        IsolatedRunner.open(path)


def test_nothing_of_the_child_reaches_the_terminal(tmp_path: Path, capfd) -> None:
    path = write_float_tflite(tmp_path)
    with IsolatedRunner.open(path) as runner:  # LiteRT prints INFO lines about XNNPACK
        runner.run(images(1)[0])
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ModelError):
        IsolatedRunner.open(path)
    assert capfd.readouterr() == ("", "")


def test_closing_leaves_no_process_and_may_be_repeated(tmp_path: Path) -> None:
    runner = IsolatedRunner.open(write_float_onnx(tmp_path))
    runner.close()
    runner.close()
    with pytest.raises(ProcessLookupError):
        os.kill(runner.pid, 0)
    assert not [t for t in threading.enumerate() if isinstance(t, threading.Timer)]


def test_a_module_beside_the_photos_is_not_imported(tmp_path: Path, monkeypatch) -> None:
    """`python -m` puts the working folder first; the child must not look there."""
    path = write_float_onnx(tmp_path)
    (tmp_path / "numpy.py").write_text("raise SystemExit('hijacked')")
    monkeypatch.chdir(tmp_path)
    with IsolatedRunner.open(path) as runner:
        assert runner.run(images(1)[0]).shape == (1, 3)


def test_importing_runtimes_loads_no_runtime_and_no_tensorflow() -> None:
    code = (
        "import sys, toolchain.runtimes, toolchain.verification, toolchain.inspection\n"
        "heavy = {'tensorflow', 'tf_keras', 'onnxruntime', 'ai_edge_litert', 'onnx'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("write", [write_float_onnx, write_float_tflite])
def test_running_a_file_loads_no_tensorflow(write, tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from toolchain.runtimes import open_runner\n"
        f"runner = open_runner(Path({str(write(tmp_path))!r}))\n"
        "runner.run(np.zeros((2, 8, 8, 3), np.uint8)); runner.close()\n"
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
