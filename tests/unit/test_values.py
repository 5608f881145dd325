"""The values between stages: what is saved is what is loaded, and folders can be moved."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from toolchain import values
from toolchain.errors import ModelError
from toolchain.measurement import (
    Benchmark,
    Comparison,
    Latency,
    Measurement,
    Noise,
    Preparation,
    load_benchmark,
)
from toolchain.saved import save_value
from toolchain.values import (
    SPLITS,
    Dataset,
    EpochRecord,
    FileVerification,
    Interval,
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
    return QuantizedModel(
        folder,
        ("a", "b"),
        {"conv1": (0.25, 3)},
        (RECORD,),
        0,
        {"int8-qat": values.Integers(("conv2",), 0.9)},
    )


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


def verified(confusion):
    return FileVerification(
        file="a.int8-qat.onnx",
        format="onnx",
        precision="int8-qat",
        runtime="onnxruntime",
        images=360,
        agreement=0.997,
        max_difference=0.03,
        accuracy=Interval(0.98, 0.96, 0.99),
        reference_accuracy=0.981,
        confusion=confusion,
        failures=("agreement 0.9 is below 0.99",),
        top5=Interval(1.0, 0.99, 1.0),
    )


def test_verification_round_trip(tmp_path):
    row = verified(((170, 3), (4, 183)))
    value = Verification(("a", "b"), (row, row), passed=False)
    save_value(value, tmp_path / "v.json")
    assert values.load_verification(tmp_path / "v.json") == value


def benchmark():
    near = Interval(1.0, 0.9, 1.1)
    row = Measurement(
        file="a.fp32.tflite",
        sha256="0" * 64,
        format="tflite",
        precision="fp32",
        runtime="litert",
        provider="cpu",
        threads=1,
        batch=1,
        bytes=1_000_000,
        zipped_bytes=900_000,
        latency=Latency(200, 20, near, near, None, near),
        load_ms=3.0,
        nodes={"XNNPACK": 3},
    )
    failed = dataclasses.replace(row, latency=None, load_ms=None, failure="crashed")
    return Benchmark(
        {"cpu": "x"},
        "2025-01-01T00:00:00Z",
        "toolchain benchmark",
        (row, failed),
        comparisons=(Comparison(0, 1, near, "inconclusive"),),
        noise=Noise("quiet", (), 0.01, 0.02, 0.0, 0.1, (0.5, 0.6)),
        preparation=(Preparation("32 photos", 96, near, near),),
    )


def test_benchmark_round_trip(tmp_path):
    value = benchmark()
    save_value(value, tmp_path / "b.json")
    assert load_benchmark(tmp_path / "b.json") == value


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: data.update(schema=1), "schema 2, received 1"),
        (lambda data: data.pop("machine"), "machine is missing"),
        (lambda data: data.update(colour="red"), "colour is unknown"),
        (
            lambda data: data["measurements"][0].update(threads="one"),
            r"\[0\].threads is of type str",
        ),
        (
            lambda data: data["measurements"][0].update(threads=True),
            r"\[0\].threads is of type bool",
        ),
        (lambda data: data["measurements"][0].update(latency=3), r"latency is of type int"),
        (lambda data: data["noise"].update(load=[1.0]), "noise.load has 1 items, expected 2"),
        (lambda data: data.update(measurements={}), "measurements is of type dict"),
    ],
)
def test_results_from_elsewhere_are_checked(tmp_path, change, told):
    path = tmp_path / "b.json"
    save_value(benchmark(), path)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(ModelError, match=told) as caught:
        load_benchmark(path)
    assert caught.value.exit_code == 2


def test_f1_is_the_mean_over_the_classes():
    sklearn = pytest.importorskip("sklearn.metrics")
    # The fourth class has neither photo nor answer, the fifth was answered once and has no photo.
    counts = ((5, 1, 0, 0, 0), (2, 3, 0, 0, 1), (0, 4, 6, 0, 0), (0,) * 5, (0,) * 5)
    pairs = [(t, p) for t, row in enumerate(counts) for p, n in enumerate(row) for _ in range(n)]
    true, answered = zip(*pairs, strict=True)
    expected = sklearn.f1_score(true, answered, average="macro", zero_division=0.0)
    assert verified(counts).f1 == pytest.approx(expected)
