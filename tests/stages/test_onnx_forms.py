"""Other forms of one int8 .onnx: the same answers in other types, and which of them is kept."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from command_line import in_process
from onnx import numpy_helper

from toolchain.cli import published
from toolchain.export.onnx_forms import rewritten
from toolchain.export.stage import export_models
from toolchain.inspection.read import inspect_file
from toolchain.inspection.scheme import check_portable, check_promise
from toolchain.recipe.sections import ONNX_FORMS
from toolchain.runtimes.carried import read_contract

TOLERANCE = {
    # Mean difference of a probability from the first form's.
    "types": 1e-3,
    "halved kernels": 0.02,
}
NAME = "digits.int8-qat.onnx"


def answers(data: bytes, images: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images})[0]


@pytest.fixture(scope="module")
def written(digits_run) -> bytes:
    return digits_run.exported(NAME).read_bytes()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (64, 32, 32, 3)).astype(np.float32)


@pytest.mark.parametrize("form", ONNX_FORMS)
def test_every_form_answers_as_the_first(form: str, written, images, tmp_path: Path) -> None:
    path = tmp_path / f"x.{form}.int8-qat.onnx"
    path.write_bytes(rewritten(written, form))
    difference = np.abs(answers(path.read_bytes(), images) - answers(written, images)).mean()
    assert difference <= TOLERANCE["halved kernels" if form == "qdq-u8s7" else "types"]
    found = inspect_file(path)
    check_promise(found, "int8-qat")
    check_portable(found)
    assert found.float_islands == ()
    assert read_contract(path).labels == tuple("0123456789")


def stored(data: bytes) -> set[str]:
    """Dtypes of the 8-bit constants."""
    tensors = onnx.ModelProto.FromString(data).graph.initializer
    return {str(numpy_helper.to_array(one).dtype) for one in tensors} & {"int8", "uint8"}


def test_types_are_those_of_the_name(written: bytes) -> None:
    assert stored(rewritten(written, "qdq-s8s8")) == {"int8"}
    assert stored(rewritten(written, "qdq-u8u8")) == {"uint8"}
    assert stored(rewritten(written, "qdq-u8s7")) == stored(written) == {"int8", "uint8"}
    assert rewritten(written, "qdq-u8s8") == written


def test_halved_kernels_use_half_of_the_range(written: bytes) -> None:
    tensors = onnx.ModelProto.FromString(rewritten(written, "qdq-u8s7")).graph.initializer
    kernels = [numpy_helper.to_array(one) for one in tensors]
    largest = [int(np.abs(one.astype(int)).max()) for one in kernels if one.dtype == np.int8]
    assert max(largest) == 64


def test_operators_are_integer_before_anything_is_loaded(written: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.int8-qat.onnx"
    path.write_bytes(rewritten(written, "qoperator-u8s8"))
    names = {op.name for op in inspect_file(path).ops}
    assert {"QLinearConv", "QLinearAdd"} <= names
    assert not names & {"Conv", "Gemm", "Add"}


def test_another_name_is_refused(written: bytes) -> None:
    with pytest.raises(ValueError, match=r"expected one of qdq-u8s8, .*received 'u8s8'"):
        rewritten(written, "u8s8")


def test_forms_are_tried_and_the_kept_one_is_written(digits_run, tmp_path: Path) -> None:
    shutil.copytree(digits_run.root, tmp_path / "runs")
    own = replace(digits_run, root=tmp_path / "runs")
    done = in_process("quantize", *own.options(), "--tune-onnx", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stage"] == "onnx-forms"
    assert "quantize: up to date" in done.stderr
    found = published.onnx_forms(own.run)
    assert [one.form for one in found.trials] == list(ONNX_FORMS)
    assert found.images == len(own.dataset.indices("validation"))
    assert all(one.p50_ms for one in found.trials)
    assert found.trials[1].of_standard
    assert found.trials[0].of_float
    assert f"kept: {found.chosen}" in done.stderr
    assert published.onnx_form(own.recipe, own.run) == found.chosen


def test_export_writes_the_form_that_it_is_told(digits_run, tmp_path: Path) -> None:
    recipe = digits_run.recipe
    export = replace(recipe.export, formats=("onnx",), precisions=("fp32", "int8-qat"))
    export_models(
        digits_run.trained,
        digits_run.quantized,
        digits_run.dataset,
        replace(recipe, export=export),
        {},
        tmp_path,
        "qdq-s8s8",
    )
    assert stored((tmp_path / NAME).read_bytes()) == {"int8"}
    assert stored((tmp_path / "digits.fp32.onnx").read_bytes()) == set()
