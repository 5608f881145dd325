"""Real photos through clients that others wrote: cats and dogs, needs $TOOLCHAIN_DATA."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from browser import browsing, find_browser
from command_line import settings, toolchain
from conftest import Answers, our_answers, unzip
from mediapipe_client import classifier, read_photo, scores
from page_client import answers_of, says, serving

from toolchain.data.containers import open_container
from toolchain.models import models_folder
from toolchain.run import Run
from toolchain.values import Dataset

# Two minutes of converting on two cores; the other tests of this folder take drawn photos.
pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(1200)]

NAME = "cats-vs-dogs-mobilenetv2"
ARCHIVE = "datasets/cats_vs_dogs.tar"
TFLITE = tuple(f"{NAME}.{precision}.tflite" for precision in ("fp32", "fp16", "int8-qat"))
LEAST_AGREEMENT = {"mediapipe": 0.99, "page": 0.98}
PHOTOS = {"mediapipe": 500, "page": 50}
# The head alone and no QAT steps: how good the model is does not matter here.
QUICK = settings(
    data__limit__train=600,
    export__precisions='["fp32", "fp16", "int8-qat"]',
    train__epochs=8,
    fine_tune__epochs=0,
    quantize__epochs=0,
    quantize__calibration_images=128,
)


@pytest.fixture(scope="module")
def cats(toolchain_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An export of the recipe that comes along."""
    root = tmp_path_factory.mktemp("runs")
    recipe = models_folder() / NAME / "recipe.toml"
    options = ["--recipe", recipe, "--runs", root, *QUICK]
    done = toolchain("export", *options, timeout=1000, TOOLCHAIN_DATA=str(toolchain_data))
    assert done.returncode == 0, done.stderr
    return Run(root, NAME)


@pytest.fixture(scope="module")
def photo_folder(cats: Run, toolchain_data: Path, tmp_path_factory) -> Path:
    """500 photos of the test split as files."""
    dataset = Dataset.load(cats.stage("data"))
    rows = dataset.indices("test")[: PHOTOS["mediapipe"]]
    folder = tmp_path_factory.mktemp("test-photos")
    for name, data in open_container(toolchain_data / ARCHIVE).read(
        {dataset.names[row] for row in rows}
    ):
        (folder / Path(name).name).write_bytes(data)
    return folder


def same_class(found: np.ndarray, ours: np.ndarray) -> float:
    return float((found.argmax(axis=1) == ours.argmax(axis=1)).mean())


@pytest.mark.parametrize("name", TFLITE)
def test_mediapipe_agrees_though_it_resizes_otherwise(name: str, cats: Run, photo_folder) -> None:
    pytest.importorskip("mediapipe")
    model = cats.stage("export") / name
    ours = our_answers(model, photo_folder)
    assert len(ours.paths) == PHOTOS["mediapipe"]
    with classifier(model) as opened:
        found = np.stack([scores(opened, read_photo(path)) for path in ours.paths])
    assert same_class(found, ours.probabilities) >= LEAST_AGREEMENT["mediapipe"]


@pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed")
def test_both_runtimes_of_the_page_agree(cats: Run, photo_folder: Path, tmp_path: Path) -> None:
    done = toolchain("bundle", cats.folder, "--for", "web", "--json")
    if done.returncode == 4:
        pytest.skip(done.stderr.splitlines()[0])
    answer = json.loads(done.stdout)
    unzip(Path(answer["archive"]), tmp_path)
    folder = tmp_path / f"{NAME}-web"
    (folder / "photos").symlink_to(photo_folder)
    with serving(folder) as url, browsing(tmp_path / "profile") as page:
        page.open(url)
        page.wait(says("is open"), 120)
        for model in answer["models"]:
            whole = our_answers(folder / model, photo_folder)
            few = slice(0, PHOTOS["page"])
            ours = Answers(whole.paths[few], whole.probabilities[few])
            found = answers_of(page, model, ours, photo_folder)
            assert same_class(found, ours.probabilities) >= LEAST_AGREEMENT["page"], model
