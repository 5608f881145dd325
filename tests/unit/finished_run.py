"""A run folder as the stages leave it, without training: made-up values, real files and hashes."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import report_values as values

from toolchain.cli import stages
from toolchain.cli.chain import STAGES
from toolchain.contract import CONTRACT_FILE, Contract, ContractEntry, TensorSpec
from toolchain.contract import write_contract_file as contract_text
from toolchain.images.preprocess import Preprocessing
from toolchain.recipe.write import RECIPE_FILE, recipe_toml
from toolchain.report import RunValues, write
from toolchain.run import Run
from toolchain.saved import save_value


def finished_run(
    root: Path, name: str = "digits", made: RunValues | None = None, *, page: bool = False
) -> Run:
    """Publish data, train, quantize, export, verify, benchmark and report of these values.

    The report's page takes seconds to draw: it is an empty one unless it is asked for.
    """
    made = made or values.run_values()
    recipe = dataclasses.replace(made.recipe, name=name)
    run = Run(root, name)
    with run.publish("data", "k") as out:
        dataset = dataclasses.replace(made.dataset, folder=out)
        shape = (len(dataset.names), dataset.size, dataset.size, 3)
        np.save(out / "pixels.npy", np.broadcast_to(np.uint8(128), shape))
        dataset.save()
    with run.publish("train", "k") as out:
        (out / "weights.safetensors").write_bytes(b"trained")
        dataclasses.replace(made.trained, folder=out).save()
    with run.publish("quantize", "k") as out:
        (out / "weights.safetensors").write_bytes(b"quantized")
        assert made.quantized is not None
        dataclasses.replace(made.quantized, folder=out).save()
    with run.publish("export", "k") as out:
        (out / RECIPE_FILE).write_text(recipe_toml(recipe))
        (out / CONTRACT_FILE).write_text(contract_text(dict(_exported(made, out))))
    with run.publish("verify", "k", _digests(run, "data", "export")) as out:
        save_value(made.verification, out / "verification.json")
        if made.answers is not None and made.heatmaps is not None:
            made.answers.save(out)
            made.heatmaps.save(out)
    if made.benchmark is not None:
        with run.publish("benchmark", "k", _digests(run, "export", "verify")) as out:
            save_value(made.benchmark, out / "benchmark.json")
    if made.phones:
        with run.publish("phones", "k") as out:
            for place, one in enumerate(made.phones):
                save_value(one, out / f"phone-{place}.json")
    with (
        run.publish("report", "k", _digests(run, *STAGES["report"].reads)) as out,
        pytest.MonkeyPatch.context() as patch,
    ):
        if not page:
            patch.setattr(write, "render_html", lambda *_: "<!doctype html>")
        stages.report(recipe, run, out)
    return run


def export_again(run: Run) -> None:
    """The same files under another key, as after a change of the recipe; nothing behind it runs."""
    manifest = run.manifest("export")
    assert manifest
    kept = {name: (run.stage("export") / name).read_bytes() for name in manifest.files}
    with run.publish("export", "another") as out:
        for name, data in kept.items():
            (out / name).write_bytes(data)


def _digests(run: Run, *names: str) -> dict[str, str]:
    """Of those of the stages that there are."""
    found = {name: run.manifest(name) for name in names}
    return {name: manifest.digest() for name, manifest in found.items() if manifest}


def _exported(made: RunValues, out: Path):
    weights = {
        "fp32": hashlib.sha256(b"trained").hexdigest(),
        "int8-qat": hashlib.sha256(b"quantized").hexdigest(),
    }
    classes = made.verification.classes
    for file in made.verification.files:
        data = file.file.encode()
        (out / file.file).write_bytes(data)
        contract = Contract(
            name=made.recipe.name,
            format=file.format,
            precision=file.precision,
            labels=classes,
            preprocessing=Preprocessing.of("symmetric", 48),
            input=TensorSpec("image", (-1, 48, 48, 3), "float32"),
            output=TensorSpec("probabilities", (-1, len(classes)), "float32"),
            lineage={
                "recipe_sha256": made.recipe.sha256(),
                "data_sha256": "2" * 64,
                "weights_sha256": weights[file.precision],
            },
        )
        yield file.file, ContractEntry(hashlib.sha256(data).hexdigest(), len(data), contract)
