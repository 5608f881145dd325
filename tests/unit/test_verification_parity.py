"""Verify passes what is right and catches every sabotage of a file or its contract."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import tiny_onnx
from tiny_network import CLASSES, PREPROCESSING, Weights, contract, images, probabilities
from tiny_onnx import float_nodes, int8_nodes, write_onnx
from tiny_tflite import (
    Builder,
    build_tflite,
    write_float_tflite,
    write_int8_tflite,
    write_tflite,
)

from toolchain.contract import Contract, ExportedModel
from toolchain.errors import InputError, ModelError
from toolchain.files import sha256_file
from toolchain.images.preprocess import Preprocessing
from toolchain.recipe.sections import VerifySection
from toolchain.runtimes import read_contract
from toolchain.values import Verification
from toolchain.verification import Photos, ask, verify

PIXELS, LABELS = images(60)
REFERENCE = probabilities(PIXELS)
# The photos lie at odd places of a Dataset.
PHOTOS = Photos(np.arange(60) * 2 + 1, tuple(f"{at}.png" for at in range(60)), LABELS)
GATES = VerifySection()
# Added to the logit of "red": about one image in five is then called red wrongly.
BIAS = 4.9


def exported(path: Path) -> ExportedModel:
    return ExportedModel(path, sha256_file(path), read_contract(path))


def float_file(folder: Path, *, softmax: bool = True, carried: Contract | None = None, **weights):
    build = float_nodes(dataclasses.replace(Weights(), **weights), softmax=softmax)
    return exported(write_onnx(folder / "tiny.fp32.onnx", build, carried or contract()))


def int8_file(folder: Path, *, carried: Contract | None = None, **weights):
    build = int8_nodes(dataclasses.replace(Weights(), **weights))
    carried = carried or contract(precision="int8-qat")
    return exported(write_onnx(folder / "tiny.int8-qat.onnx", build, carried))


def tflite_build(kind: str, **weights) -> Builder:
    return build_tflite(kind, kind, own=dataclasses.replace(Weights(), **weights))


def in_tflite(folder: Path, kind: str, build: Builder, **changes) -> ExportedModel:
    precision = "int8-qat" if kind == "int8" else "fp32"
    carried = contract("tflite", precision, **changes)
    return exported(write_tflite(folder / f"tiny.{precision}.tflite", build, carried))


def float_tflite(folder: Path, **weights) -> ExportedModel:
    return in_tflite(folder, "float32", tflite_build("float32", **weights))


def int8_tflite(folder: Path, **weights) -> ExportedModel:
    return in_tflite(folder, "int8", tflite_build("int8", **weights))


def verified(*files: ExportedModel, gates: VerifySection = GATES, **changes) -> Verification:
    references = {"fp32": REFERENCE, "int8-qat": REFERENCE, **changes}
    return verify(ask(files, PIXELS), references, PHOTOS, CLASSES, gates)


def test_right_files_pass_in_both_formats(tmp_path: Path) -> None:
    found = verified(
        float_file(tmp_path),
        int8_file(tmp_path),
        exported(write_float_tflite(tmp_path)),
        exported(write_int8_tflite(tmp_path)),
    )
    assert found.passed
    assert [file.runtime for file in found.files] == ["onnxruntime"] * 2 + ["litert"] * 2
    for file in found.files:
        assert file.failures == ()
        assert (file.images, file.agreement, file.accuracy.value) == (60, 1.0, 1.0)
        assert file.accuracy.low < 0.95
        assert np.asarray(file.confusion).sum() == 60
        assert np.array_equal(np.diag(file.confusion), np.bincount(LABELS))


def zeroed_channel() -> np.ndarray:
    kernel = Weights().kernel.copy()
    kernel[1] = 0
    return kernel


def swapped_colours() -> np.ndarray:
    return np.ascontiguousarray(Weights().kernel[:, ::-1])


@pytest.mark.parametrize("make", [float_file, int8_file, float_tflite, int8_tflite])
@pytest.mark.parametrize("kernel", [zeroed_channel(), swapped_colours()])
def test_changed_weights_are_caught(make, kernel, tmp_path: Path) -> None:
    found = verified(make(tmp_path, kernel=kernel))
    assert not found.passed
    assert found.files[0].failures


OTHER_LABELS = {"labels": ("green", "red", "blue")}
NOT_SCALED = {"preprocessing": dataclasses.replace(PREPROCESSING, mean=0.0, std=1.0)}
OTHER_SCALE = {"preprocessing": Preprocessing.of("unit", 8)}


@pytest.mark.parametrize(
    ("make", "changed"),
    [
        (float_file, OTHER_LABELS),
        (float_file, NOT_SCALED),
        (float_file, OTHER_SCALE),
        (int8_file, OTHER_LABELS),
        (int8_file, NOT_SCALED),
    ],
)
def test_changed_contracts_are_caught(make, changed, tmp_path: Path) -> None:
    precision = "fp32" if make is float_file else "int8-qat"
    found = verified(make(tmp_path, carried=contract(precision=precision, **changed)))
    assert not found.passed


@pytest.mark.parametrize("kind", ["float32", "int8"])
@pytest.mark.parametrize("changed", [OTHER_LABELS, NOT_SCALED])
def test_changed_contracts_of_tflite_files_are_caught(changed, kind: str, tmp_path: Path) -> None:
    found = verified(in_tflite(tmp_path, kind, tflite_build(kind), **changed))
    assert not found.passed
    if changed is OTHER_LABELS:
        (told,) = found.files[0].failures
        assert "class 0 is 'green', expected 'red'" in told


def test_shifted_zero_point_of_a_tflite_file_is_caught(tmp_path: Path) -> None:
    """Zero lies where the highest value should be: whatever is above it is cut off."""
    build = tflite_build("int8")
    maps = next(one for one in build.graph.tensors if one.name == b"maps")
    maps.quantization.zeroPoint += 255
    found = verified(in_tflite(tmp_path, "int8", build))
    assert re.search(r"of the images get the same class", " ".join(found.files[0].failures))


def test_shifted_zero_point_is_caught(tmp_path: Path) -> None:
    """The convolution's results are quantized with 255 for zero, and read with 0 for zero."""
    build = int8_nodes()
    build.constant("shifted", 255, np.uint8)
    next(node for node in build.nodes if node.output[0] == "relu_q").input[2] = "shifted"
    carried = contract(precision="int8-qat")
    found = verified(exported(write_onnx(tmp_path / "tiny.int8-qat.onnx", build, carried)))
    assert not found.passed
    assert re.search(r"of the images get the same class", " ".join(found.files[0].failures))


@pytest.mark.parametrize(("calibrated", "passed"), [(True, True), (False, False)])
def test_ranges_left_at_six_are_caught(
    calibrated: bool, passed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tfmot starts every range at -6 to 6, where channels that reach 50 are cut off."""
    own = Weights()
    wide = {"kernel": 40 * own.kernel, "bias": 40 * own.bias, "dense": own.dense / 40}
    ranges = {
        name: (40 * low, 40 * high) if name in ("conv", "mean") else (low, high)
        for name, (low, high) in tiny_onnx.RANGES.items()
    }
    given = ranges if calibrated else dict.fromkeys(ranges, (-6.0, 6.0))
    monkeypatch.setattr(tiny_onnx, "RANGES", given)
    assert verified(int8_file(tmp_path, **wide)).passed is passed


def test_left_out_softmax_is_caught(tmp_path: Path) -> None:
    found = verified(float_file(tmp_path, softmax=False))
    assert any("no probabilities" in text for text in found.files[0].failures)


def test_each_gate_is_the_recipes(tmp_path: Path) -> None:
    """Moving the bound, not the file, changes the verdict."""
    reference = REFERENCE.copy()
    reference[:, 0] += 1e-3
    file = float_file(tmp_path)
    assert not verified(file, fp32=reference).passed
    loose = dataclasses.replace(GATES, fp32_difference=2e-3)
    assert verified(file, gates=loose, fp32=reference).passed


def test_agreement_gate(tmp_path: Path) -> None:
    reference = REFERENCE.copy()
    reference[0] = np.roll(reference[0], 1)
    file = int8_file(tmp_path)
    found = verified(file, **{"int8-qat": reference})
    assert found.files[0].agreement == pytest.approx(59 / 60)
    assert "98.33% of the images" in found.files[0].failures[0]
    loose = dataclasses.replace(GATES, int8_agreement=0.98)
    assert verified(file, gates=loose, **{"int8-qat": reference}).passed


def test_accuracy_gate_counts_points_against_fp32(tmp_path: Path) -> None:
    """int8 does what its own graph does, and that graph got worse than the float model."""
    leaning = {"dense_bias": np.asarray([BIAS, -0.01, 0.03], np.float32)}
    file = int8_file(tmp_path, **leaning)
    own = probabilities(PIXELS, dataclasses.replace(Weights(), **leaning))
    gates = dataclasses.replace(GATES, int8_agreement=0.9)
    found = verified(file, gates=gates, **{"int8-qat": own})
    (failure,) = found.files[0].failures
    lost = 100 * (1 - found.files[0].accuracy.value)
    assert "verify.accuracy_drop" in failure
    assert f"{lost:.2f} points less than fp32 with 100.00%" in failure
    exact = dataclasses.replace(gates, accuracy_drop=lost + 1e-6)
    assert verified(file, gates=exact, **{"int8-qat": own}).passed


def of_precision(folder: Path, precision: str, **weights) -> ExportedModel:
    """The float network under another name: what is judged is what it answers."""
    build = float_nodes(dataclasses.replace(Weights(), **weights))
    path = write_onnx(folder / f"tiny.{precision}.onnx", build, contract(precision=precision))
    return exported(path)


# Added to the logit of "red": probabilities move, and no class changes.
SHIFTS = {"fp16": 1.5, "w8": 3.0, "int8-ptq": 3.0, "int8-qat": 3.0}


@pytest.mark.parametrize("precision", SHIFTS)
def test_each_precision_has_a_bound_of_its_own_on_probabilities(
    precision: str, tmp_path: Path
) -> None:
    """Every class is still right, and the file is refused all the same."""
    exact = of_precision(tmp_path, precision)
    assert verified(exact, **{"int8-ptq": REFERENCE}).passed
    shifted = np.asarray([0.02 + SHIFTS[precision], -0.01, 0.03], np.float32)
    file = of_precision(tmp_path, precision, dense_bias=shifted)
    found = verified(file, **{"int8-ptq": REFERENCE}).files[0]
    assert (found.agreement, found.accuracy.value) == (1.0, 1.0)
    key = f"{precision.split('-', maxsplit=1)[0]}_difference"
    (failure,) = found.failures
    assert f"verify.{key}" in failure
    loose = dataclasses.replace(GATES, **{key: 1.0})
    assert verified(file, gates=loose, **{"int8-ptq": REFERENCE}).passed


@pytest.mark.parametrize("precision", ["fp16", "w8"])
def test_files_that_store_the_float_model_are_held_against_it(
    precision: str, tmp_path: Path
) -> None:
    other = np.roll(REFERENCE, 1, axis=1)
    found = verified(of_precision(tmp_path, precision), **{"int8-qat": other, "int8-ptq": other})
    assert found.passed


def test_calibration_alone_may_lose_more_than_training(tmp_path: Path) -> None:
    leaning = {"dense_bias": np.asarray([BIAS, -0.01, 0.03], np.float32)}
    own = probabilities(PIXELS, dataclasses.replace(Weights(), **leaning))
    references = {"int8-ptq": own, "int8-qat": own}
    gates = dataclasses.replace(GATES, accuracy_drop=1.0, ptq_accuracy_drop=50.0)
    for precision, passes in (("int8-qat", False), ("int8-ptq", True)):
        file = of_precision(tmp_path, precision, **leaning)
        assert verified(file, gates=gates, **references).passed == passes
    tight = dataclasses.replace(gates, ptq_accuracy_drop=1.0)
    found = verified(of_precision(tmp_path, "int8-ptq", **leaning), gates=tight, **references)
    assert "verify.ptq_accuracy_drop" in found.files[0].failures[0]


def test_flipped_photos_are_named_and_counted_on_both_sides(tmp_path: Path) -> None:
    leaning = {"dense_bias": np.asarray([BIAS, -0.01, 0.03], np.float32)}
    own = probabilities(PIXELS, dataclasses.replace(Weights(), **leaning))
    gates = dataclasses.replace(GATES, accuracy_drop=100.0)
    plain, worse = verified(
        float_file(tmp_path),
        of_precision(tmp_path, "int8-qat", **leaning),
        gates=gates,
        **{"int8-qat": own},
    ).files
    assert (plain.paired.baseline, worse.paired.baseline) == ("Keras", "tiny.fp32.onnx")
    assert (plain.paired.p_value, plain.flips) == (1.0, ())
    flipped = np.flatnonzero(own.argmax(axis=1) != REFERENCE.argmax(axis=1))
    assert [flip.index for flip in worse.flips] == PHOTOS.rows[flipped].tolist()
    assert [flip.name for flip in worse.flips] == [f"{at}.png" for at in flipped]
    for flip, at in zip(worse.flips, flipped, strict=True):
        assert (flip.label, flip.before, flip.after) == (LABELS[at], LABELS[at], 0)
    assert (worse.paired.gained, worse.paired.lost) == (0, len(flipped))
    assert worse.paired.difference.value == pytest.approx(-len(flipped) / 60, abs=1e-12)
    assert worse.paired.difference.high < 0
    assert worse.paired.p_value < 0.01


def test_file_changed_after_export_is_refused(tmp_path: Path) -> None:
    file = float_file(tmp_path)
    file.path.write_bytes(file.path.read_bytes() + b"\0")
    with pytest.raises(ModelError, match="changed after"):
        verified(file)


def test_references_must_fit_the_images(tmp_path: Path) -> None:
    file = float_file(tmp_path)
    with pytest.raises(InputError, match=r"\[60, 3\], received \[59, 3\]"):
        verified(file, fp32=REFERENCE[:59])
    with pytest.raises(InputError, match="int8-qat"):
        verify(ask([int8_file(tmp_path)], PIXELS), {"fp32": REFERENCE}, PHOTOS, CLASSES, GATES)
    with pytest.raises(InputError, match="0 files"):
        verified()
