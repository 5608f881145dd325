"""What the stages of a run published, read back after the hashes of its files were compared.

`compare` reads the recipe of a report and `search` its own trials themselves, also by
`Run.require`, so that what `SECURITY.md` promises is done.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from toolchain.contract import CONTRACT_FILE, ExportedModel, read_contract_file
from toolchain.evidence import (
    ANSWERS_FILE,
    CLIENT_RESIZE_FILE,
    HEATMAPS_FILE,
    SENSITIVITY_FILE,
    Answers,
    ClientResize,
    Heatmaps,
    Sensitivity,
)
from toolchain.measurement import Benchmark, load_benchmark
from toolchain.photos import PHOTOS_FILE
from toolchain.recipe import Recipe, load_recipe
from toolchain.recipe.write import RECIPE_FILE
from toolchain.run import Manifest, Run
from toolchain.saved import load_as
from toolchain.terminal import say
from toolchain.tuning.forms import STANDARD, FormSearch
from toolchain.values import Dataset, QuantizedModel, TrainedModel, Verification, load_verification

Value = TypeVar("Value")
DATASET: Final = "dataset.json"
VERIFICATION: Final = "verification.json"
BENCHMARK: Final = "benchmark.json"
PHONES: Final = "phones"
ONNX_FORMS: Final = "onnx-forms.json"


def dataset(recipe: Recipe, run: Run) -> Dataset:
    """The dataset with what reads its pixels."""
    from toolchain.data.stage import open_dataset

    return open_dataset(run.require_all("data"), recipe)


def dataset_facts(run: Run) -> Dataset:
    """The dataset for who looks at no pixels: their file, gigabytes perhaps, is not hashed."""
    run.require("data", PHOTOS_FILE)
    return Dataset.load(run.require("data", DATASET).parent)


def trained(run: Run) -> TrainedModel:
    """The trained model, its weights included."""
    return TrainedModel.load(run.require_all("train"))


def quantization(run: Run) -> QuantizedModel:
    """What quantize made, its weights included, whatever the recipe asks for now."""
    return QuantizedModel.load(run.require_all("quantize"))


def quantized(recipe: Recipe, run: Run) -> QuantizedModel | None:
    """The quantized model; None when the recipe asks for none, or there is none yet."""
    if not recipe.int8_precisions() or run.manifest("quantize") is None:
        return None
    return quantization(run)


def sensitivity(run: Run) -> Sensitivity | None:
    """What 8 bits do to each layer; None when quantize kept nothing."""
    return _kept(run, "quantize", SENSITIVITY_FILE, Sensitivity.load)


def onnx_forms(run: Run) -> FormSearch:
    """The forms of the int8 .onnx file that were tried on this machine."""
    return load_as(FormSearch, run.require("onnx-forms", ONNX_FORMS))


def onnx_form(recipe: Recipe, run: Run) -> str:
    """The form in which int8 .onnx files are to be written; says where it was timed on others."""
    if recipe.export.onnx_form != "auto":
        return recipe.export.onnx_form
    tried = run.manifest("onnx-forms")
    if tried is None:
        return STANDARD
    chosen = onnx_forms(run).chosen
    if changed := _changed(run, tried):
        say(f"{chosen} was the fastest form before {', '.join(changed)} changed;")
        say("  to try all forms again: toolchain quantize --tune-onnx")
    return chosen


def belongs(run: Run, stage: str) -> bool:
    """Whether a stage was made from what the stages that it read hold now.

    Not so after one of them was published again and this one was not, or missed its gate.
    """
    manifest = run.manifest(stage)
    return manifest is not None and bool(manifest.made_from) and not _changed(run, manifest)


def _changed(run: Run, made: Manifest) -> list[str]:
    """The stages that a published one read and that hold something else now."""
    return [name for name, made_of in made.made_from.items() if digest(run, name) != made_of]


def digest(run: Run, stage: str) -> str | None:
    """Hash of what a published stage holds; None where it was not published."""
    manifest = run.manifest(stage)
    return None if manifest is None else manifest.digest()


def recipe(run: Run, overrides: list[str] | None = None) -> Recipe:
    """The recipe that the exported files were made from; `overrides` as in `load_recipe`."""
    return load_recipe(run.require("export", RECIPE_FILE), overrides)


def exported(run: Run) -> list[ExportedModel]:
    """Every exported file with its contract."""
    folder = run.require("export", CONTRACT_FILE).parent
    return [
        ExportedModel(run.require("export", name), entry.sha256, entry.contract)
        for name, entry in read_contract_file(folder).items()
    ]


def verification(run: Run) -> Verification:
    """How every file compares with the model it came from."""
    return load_verification(run.require("verify", VERIFICATION))


def answers(run: Run) -> Answers | None:
    """What the files said about single photos; None when verify kept nothing."""
    return _kept(run, "verify", ANSWERS_FILE, Answers.load)


def heatmaps(run: Run) -> Heatmaps | None:
    """Where the float network looked; None when verify kept nothing."""
    return _kept(run, "verify", HEATMAPS_FILE, Heatmaps.load)


def client_resize(run: Run) -> ClientResize | None:
    """What MediaPipe's resize changes; None when verify measured nothing."""
    return _kept(run, "verify", CLIENT_RESIZE_FILE, ClientResize.load)


def timings(run: Run) -> Benchmark:
    """What was timed on this machine."""
    return load_benchmark(run.require("benchmark", BENCHMARK))


def benchmark(run: Run) -> Benchmark | None:
    """The same; None when nothing was timed."""
    return None if run.manifest("benchmark") is None else timings(run)


def phones(run: Run) -> dict[str, Benchmark]:
    """File in the run -> what was imported from a phone, in the order of the logs' names."""
    manifest = run.manifest(PHONES)
    names = sorted(manifest.files) if manifest else []
    return {name: load_benchmark(run.require(PHONES, name)) for name in names}


def _kept(run: Run, stage: str, name: str, load: Callable[[Path], Value | None]) -> Value | None:
    """What a stage kept in a file whose hash was compared; None where it kept none."""
    manifest = run.manifest(stage)
    if manifest is None or name not in manifest.files:
        return None
    return load(run.require(stage, name).parent)
