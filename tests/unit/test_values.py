"""The values between stages: what is saved is what is loaded, and folders can be moved."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from toolchain import values
from toolchain.errors import ModelError
from toolchain.values import (
    SPLITS,
    Benchmark,
    Dataset,
    EpochRecord,
    FileVerification,
    Interval,
    Measurement,
    QuantizedModel,
    TrainedModel,
    Verification,
)

RECORD = EpochRecord("train", 1, 0.7, 0.6, 0.8, 0.55, 1e-3, 12.5)


def dataset(folder):
    return Dataset(
        folder=folder,
        classes=("a", "b ü"),
        size=4,
        names=("a/1.jpg", "b/2.jpg", "b/3.jpg"),
        labels=(0, 1, 1),
        splits=("train", "test", "train"),
        sha256=("0" * 64, "1" * 64, "2" * 64),
        skipped=(("b/4.jpg", "truncated"),),
        notes=("one sentence",),
    )


def trained(folder):
    return TrainedModel(folder, ("a", "b"), (RECORD, RECORD), 1, 123, ("started from none",))


def quantized(folder):
    return QuantizedModel(folder, ("a", "b"), {"conv1": (0.25, 3)}, (RECORD,), 0)


@pytest.mark.parametrize("make", [dataset, trained, quantized])
def test_what_is_saved_is_what_is_loaded(make, tmp_path):
    value = make(tmp_path)
    value.save()
    assert type(value).load(tmp_path) == value


@pytest.mark.parametrize("make", [dataset, trained, quantized])
def test_a_folder_can_be_moved(make, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    make(here).save()
    here.rename(there)
    assert type(make(there)).load(there) == make(there)
    assert all(str(tmp_path) not in path.read_text() for path in there.iterdir())


@pytest.mark.parametrize("make", [dataset, trained, quantized])
def test_values_are_frozen(make, tmp_path):
    with pytest.raises(dataclasses.FrozenInstanceError):
        make(tmp_path).classes = ()


@pytest.mark.parametrize("cls", [Dataset, TrainedModel, QuantizedModel])
@pytest.mark.parametrize("text", [None, "{", "\x00"])
def test_a_value_that_cannot_be_read_is_a_model_error(cls, text, tmp_path):
    if text is not None:
        for name in ("dataset.json", "trained.json", "quantized.json"):
            (tmp_path / name).write_text(text)
    with pytest.raises(ModelError, match="cannot be read"):
        cls.load(tmp_path)


def test_splits_are_disjoint_and_complete(tmp_path):
    value = dataset(tmp_path)
    indices = [value.indices(split) for split in SPLITS]
    assert [index.tolist() for index in indices] == [[0, 2], [], [1]]
    assert all(index.dtype == np.int64 for index in indices)
    assert value.label_array().tolist() == [0, 1, 1]


def test_pixels_cannot_be_written(tmp_path):
    stored = np.arange(3 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 4, 4, 3)
    np.save(tmp_path / values.PIXELS_FILE, stored)
    pixels = dataset(tmp_path).pixels()
    assert pixels.shape == stored.shape
    assert np.array_equal(pixels, stored)
    pixels[1][:] = 0
    pixels[:][:] = 0
    with pytest.raises(TypeError):
        pixels[0] = 1
    assert np.array_equal(np.load(tmp_path / values.PIXELS_FILE), stored)


def test_pixels_that_would_run_code_are_not_loaded(tmp_path):
    np.save(tmp_path / values.PIXELS_FILE, np.array([print], dtype=object))
    with pytest.raises(ModelError, match="Python objects"):
        dataset(tmp_path).pixels()


def test_verification_round_trip(tmp_path):
    row = FileVerification(
        file="a.int8-qat.onnx",
        format="onnx",
        precision="int8-qat",
        runtime="onnxruntime",
        images=360,
        agreement=0.997,
        max_difference=0.03,
        accuracy=Interval(0.98, 0.96, 0.99),
        reference_accuracy=0.981,
        confusion=((170, 3), (4, 183)),
        failures=("agreement 0.9 is below 0.99",),
    )
    value = Verification(("a", "b"), (row, row), passed=False)
    values.save_value(value, tmp_path / "v.json")
    assert values.load_verification(tmp_path / "v.json") == value


def test_benchmark_round_trip(tmp_path):
    row = Measurement(
        file="a.fp32.tflite",
        format="tflite",
        precision="fp32",
        runtime="litert",
        provider="cpu",
        threads=1,
        batch=1,
        runs=200,
        load_ms=3.0,
        first_ms=2.0,
        p50_ms=1.0,
        p90_ms=1.1,
        p99_ms=1.2,
        throughput=900.0,
        peak_mib=55.5,
        bytes=1_000_000,
        accuracy=None,
    )
    value = Benchmark({"cpu": "x"}, "2025-01-01T00:00:00Z", "toolchain benchmark", (row,))
    values.save_value(value, tmp_path / "b.json")
    assert values.load_benchmark(tmp_path / "b.json") == value
