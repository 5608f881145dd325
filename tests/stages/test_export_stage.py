"""The export stage: every file keeps what its name promises and carries its contract."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from command_line import in_process

from toolchain import __version__
from toolchain.contract import Accuracy, read_contract_file
from toolchain.errors import ExitCode, GateError, InputError
from toolchain.export import stage
from toolchain.export.stage import export_models
from toolchain.files import sha256_file
from toolchain.images.preprocess import Preprocessing
from toolchain.inspection.onnx import optimised_ops
from toolchain.inspection.read import inspect_file
from toolchain.inspection.scheme import check_promise, promised_by_name
from toolchain.recipe.sections import PRECISIONS
from toolchain.runtimes import open_runner
from toolchain.runtimes.carried import read_contract

pytestmark = pytest.mark.usefixtures("small_vgg_network")

LAYERS_OF_MOBILENET = 53  # 52 convolutions and a dense layer
NAMES = [
    f"digits.{precision}.{kind}"
    for precision in ("fp32", "int8-qat")
    for kind in ("tflite", "onnx")
]


@pytest.mark.parametrize("name", NAMES)
def test_the_contract_in_a_file_is_the_one_beside_it(digits_run, name: str, tmp_path) -> None:
    path = digits_run.exported(name)
    entry = read_contract_file(path.parent)[name]
    alone = tmp_path / name
    alone.write_bytes(path.read_bytes())
    assert read_contract(alone) == entry.contract
    assert entry.sha256 == sha256_file(path)
    assert entry.bytes == path.stat().st_size


@pytest.mark.parametrize("name", NAMES)
def test_the_contract_says_how_to_use_the_file(digits_run, name: str) -> None:
    contract = read_contract_file(digits_run.run.stage("export"))[name].contract
    _, precision, kind = name.split(".")
    assert (contract.name, contract.precision, contract.format) == ("digits", precision, kind)
    assert contract.labels == tuple("0123456789")
    assert contract.preprocessing == Preprocessing.of("symmetric", 32, 0.9)
    inspection = inspect_file(digits_run.exported(name))
    for promised, found in (
        (contract.input, inspection.inputs[0]),
        (contract.output, inspection.outputs[0]),
    ):
        assert (promised.name, promised.shape, promised.dtype) == (
            found.name,
            found.shape,
            found.dtype,
        )
    assert contract.lineage["toolchain"] == __version__
    folder = "quantize" if precision == "int8-qat" else "train"
    weights = digits_run.run.stage(folder) / "weights.safetensors"
    assert contract.lineage["weights_sha256"] == sha256_file(weights)
    assert contract.lineage["data_sha256"] == digits_run.run.manifest("data").digest()


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_is_what_the_name_promises(digits_run, name: str) -> None:
    inspection = inspect_file(digits_run.exported(name))
    check_promise(inspection, name.split(".")[1])
    assert len(inspection.layers()) == LAYERS_OF_MOBILENET


def test_onnxruntime_runs_the_integer_file_in_integers(digits_run) -> None:
    ops = optimised_ops(digits_run.exported("digits.int8-qat.onnx"))
    assert ops["QLinearConv"] == LAYERS_OF_MOBILENET - 1
    assert ops["Conv"] == ops["Gemm"] == ops["MatMul"] == 0


def test_integer_files_are_much_smaller(digits_run) -> None:
    for kind in ("tflite", "onnx"):
        sizes = [
            digits_run.exported(f"digits.{precision}.{kind}").stat().st_size
            for precision in ("fp32", "int8-qat")
        ]
        assert 0.25 < sizes[1] / sizes[0] < 0.45


def test_contract_json_is_json_with_a_schema(digits_run) -> None:
    data = json.loads((digits_run.run.stage("export") / "contract.json").read_text())
    assert data["schema"] == 3
    assert set(data["files"]) == set(NAMES)


@pytest.fixture
def quantized(calibrated_vgg):
    return calibrated_vgg.quantized


def onnx_only(recipe, *precisions: str):
    return replace(recipe, export=replace(recipe.export, formats=("onnx",), precisions=precisions))


def test_only_what_the_recipe_asks_for_is_written(small_vgg_run, quantized, tmp_path) -> None:
    run = small_vgg_run
    entries = export_models(
        run.trained, None, run.dataset, onnx_only(run.recipe, "fp32"), {}, tmp_path
    )
    assert set(entries) == {"tiny.fp32.onnx"}
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"tiny.fp32.onnx", "labels.txt", "contract.json"}


def test_every_precision_is_written_and_tells_which_weights_it_has(
    small_vgg_run, quantized, tmp_path
) -> None:
    run = small_vgg_run
    entries = export_models(
        run.trained, quantized, run.dataset, onnx_only(run.recipe, *PRECISIONS), {}, tmp_path
    )
    assert set(entries) == {f"tiny.{precision}.onnx" for precision in PRECISIONS}
    for precision in PRECISIONS:
        check_promise(inspect_file(tmp_path / f"tiny.{precision}.onnx"), precision)
    weights = {
        precision: entries[f"tiny.{precision}.onnx"].contract.lineage["weights_sha256"]
        for precision in PRECISIONS
    }
    assert weights["fp32"] == weights["fp16"] == weights["w8"]
    assert weights["int8-ptq"] == sha256_file(quantized.folder / "calibrated.safetensors")
    sizes = [entries[f"tiny.{precision}.onnx"].bytes for precision in ("fp32", "fp16", "w8")]
    assert sizes == sorted(sizes, reverse=True)


def test_an_int8_file_needs_a_quantized_model(small_vgg_run, tmp_path) -> None:
    run = small_vgg_run
    with pytest.raises(InputError, match="int8-ptq"):
        recipe = onnx_only(run.recipe, "int8-ptq")
        export_models(run.trained, None, run.dataset, recipe, {}, tmp_path)


def test_the_same_run_exports_the_same_bytes(small_vgg_run, quantized, tmp_path) -> None:
    run, hashes = small_vgg_run, []
    recipe = onnx_only(run.recipe, "fp32", "int8-qat")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        entries = export_models(run.trained, quantized, run.dataset, recipe, {}, tmp_path / name)
        hashes.append({file: entry.sha256 for file, entry in entries.items()})
    assert hashes[0] == hashes[1]
    assert len(set(hashes[0].values())) == 2


def test_a_file_whose_name_lies_is_refused(small_vgg_run, quantized, tmp_path, monkeypatch) -> None:
    """Float arithmetic under the name int8-qat, as a converter that gives up would leave it."""
    real = stage._source
    monkeypatch.setattr(stage, "_source", lambda *given: replace(real(*given), ranges=None))
    run = small_vgg_run
    with pytest.raises(GateError, match="promises int8-qat") as caught:
        export_models(
            run.trained, quantized, run.dataset, onnx_only(run.recipe, "int8-qat"), {}, tmp_path
        )
    assert caught.value.exit_code == ExitCode.GATE
    assert not (tmp_path / "contract.json").exists()


def test_the_export_replays_its_golden_vectors_in_another_place(digits_run, tmp_path) -> None:
    folder = shutil.copytree(digits_run.run.stage("export"), tmp_path / "elsewhere")
    result = in_process("verify", "--contract", folder, "--json")
    assert result.returncode == ExitCode.DONE, result.stderr
    assert {row["file"] for row in json.loads(result.stdout)} == set(NAMES)


def test_every_variant_is_written_and_answers_through_its_contract(small_vgg_run, tmp_path) -> None:
    """Logits, NCHW, raw bytes and a static twin, all at once."""
    run, recipe = small_vgg_run, onnx_only(small_vgg_run.recipe, "fp32")
    plain, other = tmp_path / "plain", tmp_path / "other"
    for folder, export in (
        (plain, recipe.export),
        (
            other,
            replace(
                recipe.export,
                output="logits",
                onnx_layout="nchw",
                onnx_input="uint8",
                onnx_static=True,
            ),
        ),
    ):
        folder.mkdir()
        export_models(run.trained, None, run.dataset, replace(recipe, export=export), {}, folder)
    pixels = run.dataset.pixels()[np.arange(5)]
    expected = open_runner(plain / "tiny.fp32.onnx").run(pixels)
    for name, batch in (("tiny.fp32.onnx", -1), ("tiny.fp32.b1.onnx", 1)):
        runner = open_runner(other / name)
        assert runner.contract.input.shape == (batch, 3, 32, 32)
        assert runner.contract.output.name == "logits"
        assert np.abs(runner.run(pixels) - expected).max() < 1e-5
        assert promised_by_name(other / name) == "fp32"


def test_the_contract_says_how_good_the_model_was_on_validation(digits_run) -> None:
    contract = read_contract_file(digits_run.run.stage("export"))["digits.fp32.onnx"].contract
    best = digits_run.trained.history[digits_run.trained.best]
    images = len(digits_run.dataset.indices("validation"))
    assert contract.accuracy == Accuracy("validation", images, best.validation_accuracy)
