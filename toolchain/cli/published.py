"""What the stages of a run published, read back after the hashes of its files were compared.

No other module reads values out of a run's folder, so that `SECURITY.md` promises what is done.
"""

from __future__ import annotations

from typing import Final

from toolchain.contract import CONTRACT_FILE, ExportedModel, read_contract_file
from toolchain.evidence import Answers, Heatmaps, Sensitivity
from toolchain.measurement import Benchmark, load_benchmark
from toolchain.recipe import Recipe
from toolchain.run import Run
from toolchain.values import Dataset, QuantizedModel, TrainedModel, Verification, load_verification

DATASET: Final = "dataset.json"
VERIFICATION: Final = "verification.json"
BENCHMARK: Final = "benchmark.json"
PHONES: Final = "phones"


def dataset(recipe: Recipe, run: Run) -> Dataset:
    """The dataset with what reads its pixels."""
    from toolchain.data.stage import open_dataset

    return open_dataset(run.require_all("data"), recipe)


def dataset_facts(run: Run) -> Dataset:
    """The dataset for who looks at no pixels: their file, gigabytes perhaps, is not hashed."""
    return Dataset.load(run.require("data", DATASET).parent)


def trained(run: Run) -> TrainedModel:
    """The trained model, its weights included."""
    return TrainedModel.load(run.require_all("train"))


def quantized(recipe: Recipe, run: Run) -> QuantizedModel | None:
    """The quantized model; None when the recipe asks for none, or there is none yet."""
    if not recipe.int8_precisions() or run.manifest("quantize") is None:
        return None
    return QuantizedModel.load(run.require_all("quantize"))


def sensitivity(run: Run) -> Sensitivity | None:
    """What 8 bits do to each layer; None when quantize kept nothing."""
    return Sensitivity.load(run.require_all("quantize")) if run.manifest("quantize") else None


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
    return Answers.load(run.require_all("verify"))


def heatmaps(run: Run) -> Heatmaps | None:
    """Where the float network looked; None when verify kept nothing."""
    return Heatmaps.load(run.require_all("verify"))


def benchmark(run: Run) -> Benchmark | None:
    """What was timed on this machine; None when nothing was."""
    if run.manifest("benchmark") is None:
        return None
    return load_benchmark(run.require("benchmark", BENCHMARK))


def phones(run: Run) -> dict[str, Benchmark]:
    """File in the run -> what was imported from a phone, in the order of the logs' names."""
    manifest = run.manifest(PHONES)
    names = sorted(manifest.files) if manifest else []
    return {name: load_benchmark(run.require(PHONES, name)) for name in names}
