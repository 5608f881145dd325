"""What a stage published is not read once its bytes are others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import report_values as values
from finished_run import finished_run

from toolchain.cli import published
from toolchain.errors import ModelError
from toolchain.run import Run
from toolchain.saved import save_value
from toolchain.tuning.forms import FormSearch

RECIPE = values.run_values().recipe
READ: dict[str, tuple[str, Callable[[Run], Any]]] = {
    "data/pixels.npy": ("data", lambda run: published.dataset(RECIPE, run)),
    "data/dataset.json": ("data", published.dataset_facts),
    "data/photos.csv": ("data", published.dataset_facts),
    "train/weights.safetensors": ("train", published.trained),
    "train/trained.json": ("train", published.trained),
    "quantize/quantized.json": ("quantize", lambda run: published.quantized(RECIPE, run)),
    "export/contract.json": ("export", published.exported),
    "export/digits.fp32.onnx": ("export", published.exported),
    "verify/verification.json": ("verify", published.verification),
    "verify/answers.safetensors": ("verify", published.answers),
    "verify/heatmaps.safetensors": ("verify", published.heatmaps),
    "benchmark/benchmark.json": ("benchmark", published.benchmark),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished_run(tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("file", READ)
def test_a_changed_file_is_refused(run: Run, file: str) -> None:
    stage, read = READ[file]
    path = run.folder / file
    before = path.read_bytes()
    assert read(run) is not None
    # One bit, so that size and meaning can stay as they are.
    path.write_bytes(before[:-3] + bytes([before[-3] ^ 1]) + before[-2:])
    try:
        with pytest.raises(ModelError, match="expected sha256") as caught:
            read(run)
    finally:
        path.write_bytes(before)
    assert caught.value.where == str(path)
    assert str(run.stage(stage)) in caught.value.remedy


def test_a_stage_that_never_ran_is_named(tmp_path: Path) -> None:
    run = Run(tmp_path, "digits")
    with pytest.raises(ModelError, match="stage train") as caught:
        published.trained(run)
    assert caught.value.remedy == "run: make train"
    assert published.benchmark(run) is None
    assert published.sensitivity(run) is None
    assert published.phones(run) == {}


def quantized_again(run: Run, weights: bytes) -> str:
    with run.publish("quantize", "k") as out:
        (out / "weights.safetensors").write_bytes(weights)
    manifest = run.manifest("quantize")
    assert manifest is not None
    return manifest.digest()


def test_a_form_that_was_timed_for_other_weights_is_used_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(published, "say", told.append)
    run = Run(tmp_path, "digits")
    assert published.onnx_form(RECIPE, run) == "qdq-u8s8"
    upstream = {"quantize": quantized_again(run, b"first")}
    tried = FormSearch(
        date="",
        command="",
        toolchain="",
        machine={},
        precision="int8-qat",
        images=1,
        trials=(),
        chosen="qdq-s8s8",
        reason="",
    )
    with run.publish("onnx-forms", "k", upstream) as out:
        save_value(tried, out / published.ONNX_FORMS)
    assert published.onnx_form(RECIPE, run) == "qdq-s8s8"
    assert told == []
    quantized_again(run, b"second")
    assert published.onnx_form(RECIPE, run) == "qdq-s8s8"
    assert told[0] == "qdq-s8s8 was the fastest form before quantize changed;"
    assert "--tune-onnx" in told[1]
