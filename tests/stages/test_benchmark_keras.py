"""The rows of a real run: files, batches, the Keras model beside them, quality, and a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import in_process
from conftest import DigitsRun

from toolchain.cli import published
from toolchain.measurement import Benchmark, load_benchmark
from toolchain.run import Run

LOG = Path(__file__).parents[1] / "unit" / "phone_logs" / "shell.log"


@pytest.fixture(scope="module")
def made(digits_run: DigitsRun) -> Benchmark:
    return load_benchmark(digits_run.run.require("benchmark", "benchmark.json"))


def test_the_keras_model_is_a_row_beside_its_files(made: Benchmark) -> None:
    rows = {row.runtime: row for row in made.measurements if row.batch == 1}
    assert set(rows) == {"litert", "onnxruntime", "keras"}
    keras = rows["keras"]
    assert (keras.file, keras.failure) == ("digits.fp32.keras", "")
    assert keras.latency.p50_ms.value > rows["litert"].latency.p50_ms.value
    assert keras.peak_mib > 2 * rows["litert"].peak_mib


def test_every_file_takes_its_batches_and_says_how_good_it_is(made: Benchmark) -> None:
    files = [row for row in made.measurements if row.runtime != "keras"]
    assert {row.batch for row in files} == {1, 4}
    assert all(row.top1.value > 0.5 and row.top5.value >= row.top1.value for row in files)
    assert all(0.5 < row.f1 <= 1 for row in files)
    assert all(row.nodes for row in files)
    assert made.data_sha256
    assert made.preparation[0].photos == "the first 16 photos of digits"


def test_a_phones_log_is_kept_in_the_run_with_the_hash_of_its_file(
    digits_run: DigitsRun, tmp_path: Path
) -> None:
    import shutil

    folder = shutil.copytree(digits_run.run.folder, tmp_path / "digits")
    size = digits_run.exported("digits.int8-qat.tflite").stat().st_size
    log = tmp_path / "phone.log"
    log.write_text(LOG.read_text().replace("(MB): 0.602", f"(MB): {size / 1e6:g}"))
    for _ in range(2):
        done = in_process("benchmark", folder, "--import", log)
        assert done.returncode == 0, done.stderr
    (kept,) = published.phones(Run.at(folder)).values()
    (row,) = kept.measurements
    assert row.bytes == size
    assert (len(row.sha256), row.precision) == (64, "int8-qat")
