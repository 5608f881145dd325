"""Values of a made-up run, for the tests of the report."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np

from toolchain.evidence import (
    Answers,
    ClientResize,
    FileAnswers,
    Heatmaps,
    LayerError,
    ResizeEffect,
    Sensitivity,
)
from toolchain.measurement import Benchmark, Latency, Measurement
from toolchain.recipe import parse_recipe
from toolchain.report import Pictures, Report, RunValues, make_pictures, make_report
from toolchain.report.lineage import Link
from toolchain.values import (
    Dataset,
    EpochRecord,
    FileVerification,
    Interval,
    Paired,
    QuantizedModel,
    TrainedModel,
    Verification,
)

DIGITS = tuple(map(str, range(10)))
P50 = {"tflite fp32": 0.46, "tflite int8-qat": 0.31, "onnx fp32": 0.52, "onnx int8-qat": 0.37}
SIZES = {"fp32": 1_640_000, "int8-qat": 602_000}


def confusion(classes: int = 10, images: int = 36, wrong: int = 9) -> tuple[tuple[int, ...], ...]:
    """`images` of each class; `wrong` in all, spread over the classes, called the next class."""
    counts = np.diag(np.full(classes, images))
    for mistake in range(wrong):
        true = (mistake * mistake) % classes
        counts[true, true] -= 1
        counts[true, (true + 1 + mistake % 2) % classes] += 1
    return tuple(tuple(map(int, row)) for row in counts)


PAIRED = Paired("digits.fp32.tflite", 0, 1, Interval(-1 / 360, -0.0156, 0.0080), 1.0)


def verified(file: str, wrong: int = 9, failures: tuple[str, ...] = ()) -> FileVerification:
    _, precision, kind = file.split(".", 2)
    matrix = confusion(wrong=wrong)
    share = float(np.trace(matrix) / np.sum(matrix))
    half = 1.96 * math.sqrt(share * (1 - share) / 360)
    return FileVerification(
        file=file,
        format=kind,
        precision=precision,
        runtime="litert" if kind == "tflite" else "onnxruntime",
        images=360,
        agreement=1.0 if precision == "fp32" else 0.9944,
        max_difference=3.6e-7 if precision == "fp32" else 0.062,
        accuracy=Interval(share, share - half, min(1.0, share + half)),
        reference_accuracy=share,
        confusion=matrix,
        failures=failures,
        paired=None if precision == "fp32" else PAIRED,
    )


def near(value: float, share: float = 0.02) -> Interval:
    """A number with an interval of `share` to both sides."""
    return Interval(value, value * (1 - share), value * (1 + share))


def measured(
    file: str, p50: float | None = None, threads: int = 1, failure: str = ""
) -> Measurement:
    _, precision, kind = file.split(".", 2)
    p50 = P50[f"{kind} {precision}"] if p50 is None else p50
    latency = Latency(
        runs=200,
        rounds=20,
        p50_ms=near(p50),
        p90_ms=near(1.1 * p50),
        p99_ms=near(1.6 * p50, 0.2),
        throughput=near(1000 / (1.03 * p50)),
    )
    return Measurement(
        file=file,
        sha256="0" * 64,
        format=kind,
        precision=precision,
        runtime="litert" if kind == "tflite" else "onnxruntime",
        provider="cpu",
        threads=threads,
        batch=1,
        bytes=SIZES[precision],
        zipped_bytes=int(0.9 * SIZES[precision]),
        latency=None if failure else latency,
        load_ms=None if failure else 2.31,
        first_ms=None if failure else 1.4 * p50,
        peak_mib=None if failure else 88.4,
        failure=failure,
    )


FILES = (
    verified("digits.fp32.tflite", 7),
    verified("digits.int8-qat.tflite", 8),
    verified("digits.fp32.onnx", 7),
    verified("digits.int8-qat.onnx", 8),
)
VERIFICATION = Verification(classes=DIGITS, files=FILES, passed=True)
BENCHMARK = Benchmark(
    machine={"processor": "Example CPU @ 2.0 GHz", "memory": "8.0 GiB", "onnxruntime": "1.31.1"},
    date="2026-01-02T03:04:05+00:00",
    command="make benchmark RECIPE=models/digits/recipe.toml",
    measurements=tuple(measured(file.file) for file in FILES),
)

PHONE = Benchmark(
    machine={"phone": "Example <9>", "android": "14"},
    date="2026-01-03T03:04:05+00:00",
    command="benchmark_model, see phone.log",
    measurements=(
        measured("digits.int8-qat.tflite", 0.87, threads=4),
        measured("digits.fp32.tflite", failure="the log ends before this model was timed"),
    ),
)


def history(phase: str, epochs: int, start: float, first: int = 1) -> tuple[EpochRecord, ...]:
    return tuple(
        EpochRecord(
            phase=phase,
            epoch=first + at,
            loss=start * 0.75**at,
            accuracy=1 - 0.3 * start * 0.75**at,
            validation_loss=start * 0.76**at + 0.03 + 0.01 * math.sin(at),
            validation_accuracy=0.985 - 0.28 * start * 0.76**at,
            learning_rate=1e-3,
            seconds=1.5,
        )
        for at in range(epochs)
    )


def dataset(classes: tuple[str, ...] = DIGITS) -> Dataset:
    splits = ["train"] * 104 + ["validation"] * 36 + ["test"] * 36
    count = len(splits) * len(classes)
    return Dataset(
        folder=Path("unused"),
        classes=classes,
        size=48,
        names=tuple(f"{at}.png" for at in range(count)),
        labels=tuple(at for at in range(len(classes)) for _ in splits),
        splits=tuple(splits * len(classes)),
        sha256=tuple(f"{at:064x}" for at in range(count)),
        skipped=(("8/broken.png", "the image cannot be decoded: truncated"),),
        notes=("10 folders were taken as 10 classes",),
    )


TRAINED = TrainedModel(
    folder=Path("unused"),
    classes=DIGITS,
    history=history("train", 12, 0.9) + history("fine_tune", 8, 0.12),
    best=18,
    parameters=410_208,
    notes=("the head was trained on cached features",),
)
QUANTIZED = QuantizedModel(
    folder=Path("unused"),
    classes=DIGITS,
    ranges={},
    history=history("quantize", 3, 0.09, first=0),
    best=1,
    integers={},
)


def answers(verification: Verification = VERIFICATION) -> Answers:
    """Answers that give the files' confusion matrices, mistakes less sure than the rest."""
    test = dataset(verification.classes).indices("test")
    files = {}
    for at, file in enumerate(verification.files):
        matrix = np.asarray(file.confusion)
        called = np.concatenate([np.repeat(np.arange(len(row)), row) for row in matrix])
        labels = np.repeat(np.arange(len(matrix)), matrix.sum(axis=1))
        spread = np.random.default_rng(at).uniform(0.0, 0.2, len(labels)).astype(np.float32)
        sure = np.where(called == labels, 0.99 - spread, 0.85 - 2 * spread).astype(np.float32)
        truth = np.where(called == labels, sure, 1 - sure).astype(np.float32)
        files[file.file] = FileAnswers(called, sure, truth)
    return Answers(test[: len(labels)], labels, files)


def heatmaps(rows: np.ndarray) -> Heatmaps:
    count = len(rows)
    spot = np.linspace(0, 1, 36 * count, dtype=np.float32).reshape(count, 6, 6)
    sure = np.full(count, 0.9, np.float32)
    called = np.arange(count) % 2
    return Heatmaps("block_6_expand_relu", rows, np.zeros(count, np.int64), called, sure, spot)


def run_values(
    verification: Verification = VERIFICATION, benchmark: Benchmark | None = BENCHMARK
) -> RunValues:
    recipe = parse_recipe(
        {"data": {"source": "digits"}, "model": {"weights": "embedded"}}, name="digits"
    )
    kept = answers(verification)
    return RunValues(
        recipe=recipe,
        dataset=dataset(verification.classes),
        trained=TRAINED,
        quantized=QUANTIZED,
        verification=verification,
        benchmark=benchmark,
        phones=(),
        answers=kept,
        heatmaps=heatmaps(kept.rows[:4]),
        sensitivity=Sensitivity(
            tuple(
                LayerError(f"block_{at}", "conv", 40 - at % 7 + at / 20, 45.0) for at in range(20)
            )
        ),
        client_resize=ClientResize(
            photos=200,
            byte_difference=6.25,
            files={FILES[0].file: ResizeEffect(0.995, 0.98, 0.985, 0.0042)},
        ),
        lineage=(
            Link("recipe", "1" * 64),
            Link("photos and their split", "2" * 64),
            Link("trained weights", "3" * 64, "recipe, photos, random weights"),
            Link(FILES[1].file, "4" * 64, "quantized weights"),
        ),
        command="make train export verify benchmark report RECIPE=models/digits/recipe.toml",
    )


def report(
    verification: Verification = VERIFICATION,
    benchmark: Benchmark | None = BENCHMARK,
    **changes: object,
) -> Report:
    made = make_report(run_values(verification, benchmark))
    # A day of its own: two reports of a test would differ where a minute begins between them.
    return dataclasses.replace(made, **{"date": "2026-11-02T10:11:12+00:00", **changes})


def pictures(made: Report) -> Pictures:
    """Noise in place of photos."""
    random = np.random.default_rng(0)
    count = len(dataset(made.verification.classes).names)
    pixels = random.integers(0, 256, (8, 48, 48, 3), dtype=np.uint8)
    wanted = made.gallery.rows() if made.gallery else []
    looked = [photo.row for photo in made.gallery.looked] if made.gallery else []
    assert all(row < count for row in wanted)
    return make_pictures(wanted, heatmaps(np.asarray(looked)), Cycled(pixels))


class Cycled:
    """A few pictures that stand for any number of photos."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def __getitem__(self, row: int) -> np.ndarray:
        return self.pixels[row % len(self.pixels)]
