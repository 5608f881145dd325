"""What is made once for all stage tests: a real run of the digits, and a small trained VGG16."""

from __future__ import annotations

import fcntl
import json
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from command_line import settings, toolchain
from networks import recipe_of, small_vgg

from toolchain.data.stage import build_dataset
from toolchain.models import models_folder
from toolchain.recipe import Recipe, load_recipe
from toolchain.run import Run
from toolchain.values import Dataset, QuantizedModel, TrainedModel

# A budget of seconds for both phases, and gates as loose as that.
TINY = {
    "input.size": 32,
    # Digits of 8 pixels lose none by it, but every contract has to carry it.
    "input.crop": 0.9,
    "augment.rotation": 0,
    "augment.zoom": 0,
    "augment.shift": 0,
    "train.epochs": 8,
    "train.learning_rate": 3e-3,
    "fine_tune.epochs": 4,
    "fine_tune.learning_rate": 1e-3,
    "quantize.epochs": 1,
    "quantize.learning_rate": 1e-4,
    "quantize.calibration_images": 128,
    "verify.accuracy_drop": 5,
    "benchmark.runs": 10,
    "benchmark.seconds": 0,
    "benchmark.processes": 2,
    "benchmark.batches": [1, 4],
    "benchmark.warmup_seconds": 0,
}


@dataclass(frozen=True)
class DigitsRun:
    """A finished `toolchain run` of the digits."""

    root: Path
    result: subprocess.CompletedProcess[str]

    def options(self, **changes: object) -> list[str]:
        """What was typed after the command, with some settings changed."""
        keys = {key.replace(".", "__"): value for key, value in TINY.items()} | changes
        return ["--recipe", "digits", "--runs", str(self.root), *settings(**keys)]

    @property
    def run(self) -> Run:
        return Run(self.root, "digits")

    @property
    def recipe(self) -> Recipe:
        overrides = [f"{key}={value}" for key, value in TINY.items()]
        return load_recipe(models_folder() / "digits" / "recipe.toml", overrides)

    @property
    def dataset(self) -> Dataset:
        return Dataset.load(self.run.stage("data"))

    @property
    def trained(self) -> TrainedModel:
        return TrainedModel.load(self.run.stage("train"))

    @property
    def quantized(self) -> QuantizedModel:
        return QuantizedModel.load(self.run.stage("quantize"))

    def exported(self, name: str) -> Path:
        return self.run.stage("export") / name


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> DigitsRun:
    """The whole chain through the command line, once; tests read it and change nothing."""
    pytest.importorskip("sklearn")
    folder = tmp_path_factory.getbasetemp()
    if worker_id != "master":  # pytest-xdist: the folder above is the same for all its processes
        folder = folder.parent
    root, told = folder / "digits-run", folder / "digits-run.json"
    with (folder / "digits-run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            result = toolchain("run", *DigitsRun(root, None).options())  # type: ignore[arg-type]
            told.write_text(
                json.dumps([result.args, result.returncode, result.stdout, result.stderr])
            )
    made = DigitsRun(root, subprocess.CompletedProcess(*json.loads(told.read_text())))
    assert made.result.returncode == 0, made.result.stderr
    return made


@dataclass(frozen=True)
class SmallVgg:
    """A VGG16 with few channels, trained on the digits in seconds."""

    recipe: Recipe
    dataset: Dataset
    trained: TrainedModel
    rows_read: frozenset[int]


class _Watched:
    """An array that remembers which of its rows were read."""

    def __init__(self, array, seen: set[int]) -> None:
        self._array, self._seen = array, seen
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, rows):
        self._seen.update(int(row) for row in rows)
        return self._array[rows]


@pytest.fixture(scope="module")
def small_vgg_network():
    """In the modules that use this, "vgg16" has few channels; elsewhere it is the real one."""
    with pytest.MonkeyPatch.context() as patch:
        small_vgg(patch)
        yield


@pytest.fixture(scope="session")
def small_vgg_run(tmp_path_factory: pytest.TempPathFactory) -> SmallVgg:
    """Use it together with `small_vgg_network`."""
    from toolchain.training.stage import train_model

    pytest.importorskip("sklearn")
    recipe = recipe_of(
        32,
        "vgg16",
        model={"head": {"pool": "flatten", "dense": [16], "dropout": 0.1}},
        train={"epochs": 4, "learning_rate": 2e-3, "batch_size": 32},
        quantize={"calibration_images": 100},
    )
    # Files of both int8 precisions without the time of training: no recipe may say so.
    recipe = replace(recipe, quantize=replace(recipe.quantize, epochs=0))
    dataset = build_dataset(recipe, tmp_path_factory.mktemp("data"))
    seen: set[int] = set()
    watched = _Watched(dataset.pixels(), seen)
    with pytest.MonkeyPatch.context() as patch:
        small_vgg(patch)
        patch.setattr(Dataset, "pixels", lambda _: watched)
        trained = train_model(dataset, recipe, tmp_path_factory.mktemp("train"))
    return SmallVgg(recipe, dataset, trained, frozenset(seen))


@dataclass(frozen=True)
class CalibratedVgg:
    """The small VGG16 quantized without training, and which rows that looked at."""

    quantized: QuantizedModel
    calibrated_on: tuple[int, ...]
    weighed_on: tuple[int, ...]


@pytest.fixture(scope="session")
def calibrated_vgg(
    small_vgg_run: SmallVgg, tmp_path_factory: pytest.TempPathFactory
) -> CalibratedVgg:
    """Use it together with `small_vgg_network`; it is read and not changed."""
    from toolchain.quantization import stage

    run, seen = small_vgg_run, {"calibrate": [], "sensitivity": []}

    def watched(name: str, examples_at: int):
        real = getattr(stage, name)

        def call(*given):
            seen[name].extend(given[examples_at].rows.tolist())
            return real(*given)

        return call

    with pytest.MonkeyPatch.context() as patch:
        small_vgg(patch)
        patch.setattr(stage, "calibrate", watched("calibrate", 1))
        patch.setattr(stage, "sensitivity", watched("sensitivity", 2))
        folder = tmp_path_factory.mktemp("calibrated")
        quantized = stage.quantize_model(run.trained, run.dataset, run.recipe, folder)
    return CalibratedVgg(quantized, tuple(seen["calibrate"]), tuple(seen["sensitivity"]))
