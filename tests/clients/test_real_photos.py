"""Real photos through clients that others wrote: cats and dogs, needs $TOOLCHAIN_DATA."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from browser import browsing, find_browser
from command_line import toolchain
from conftest import Answers, our_answers, unzip
from mediapipe_client import classifier, read_photo, scores
from page_client import answers_of, says, serving

from toolchain.cli.predict import find_images
from toolchain.data.containers import open_container
from toolchain.images.preprocess import Frame, pixels_of
from toolchain.run import Run

pytestmark = pytest.mark.real

ARCHIVE = "datasets/cats_vs_dogs.tar"
KINDS = ("cat", "dog")
TRAIN = 300
PHOTOS = {"mediapipe": 500, "page": 50}
LEAST_AGREEMENT = {"mediapipe": 0.99, "page": 0.98}
# How good the model is matters a little: one that guesses is never sure, and flips.
LEAST_ACCURACY = 0.95
PRECISIONS = ("fp32", "fp16", "int8-ptq")


@pytest.fixture(scope="module")
def photos(toolchain_data: Path) -> dict[str, bytes]:
    """As many cats as dogs, those to fit the head on first; a cat and a dog take turns."""
    count = (TRAIN + PHOTOS["mediapipe"]) // 2
    container = open_container(toolchain_data / ARCHIVE)
    names = sorted(e.name for e in container.entries() if e.name.endswith(".jpg"))
    of_kind = [[n for n in names if Path(n).name.startswith(kind)][:count] for kind in KINDS]
    order = [name for pair in zip(*of_kind, strict=True) for name in pair]
    found = dict(container.read(set(order)))
    return {Path(name).name: found[name] for name in order}


@pytest.fixture(scope="module")
def cats(photos: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with an export alone, see real_model.py."""
    pytest.importorskip("tensorflow")
    from real_model import NAME, SIZE, write_real_export

    few = list(photos)[:TRAIN]
    pixels = np.stack([pixels_of(photos[name], name, Frame(SIZE)) for name in few])
    labels = np.asarray([KINDS.index(name.split(".")[0]) for name in few])
    run = Run(tmp_path_factory.mktemp("runs"), NAME)
    with run.publish("export", "e") as folder:
        write_real_export(folder, pixels, labels)
    return run


@pytest.fixture(scope="module")
def photo_folder(photos: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 photos that the model was not fitted to, as files."""
    folder = tmp_path_factory.mktemp("test-photos")
    for name in list(photos)[TRAIN:]:
        (folder / name).write_bytes(photos[name])
    return folder


def same_class(found: np.ndarray, ours: np.ndarray) -> float:
    return float((found.argmax(axis=1) == ours.argmax(axis=1)).mean())


def model_of(cats: Run, precision: str) -> Path:
    return cats.stage("export") / f"cats.{precision}.tflite"


@pytest.fixture(scope="module")
def of_mediapipe(cats: Run, photo_folder: Path) -> dict[str, np.ndarray]:
    """What it answers with each file, [photos, classes]; each photo is decoded once for all."""
    pytest.importorskip("mediapipe")
    with contextlib.ExitStack() as stack:
        opened = {
            precision: stack.enter_context(classifier(model_of(cats, precision)))
            for precision in PRECISIONS
        }
        rows: dict[str, list[np.ndarray]] = {precision: [] for precision in PRECISIONS}
        for path in find_images([photo_folder]):
            photo = read_photo(path)
            for precision, one in opened.items():
                rows[precision].append(scores(one, photo))
    return {precision: np.stack(found) for precision, found in rows.items()}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_mediapipe_agrees_though_it_resizes_otherwise(
    precision: str, cats: Run, photo_folder: Path, of_mediapipe: dict[str, np.ndarray]
) -> None:
    ours = our_answers(model_of(cats, precision), photo_folder)
    labels = np.asarray([KINDS.index(path.name.split(".")[0]) for path in ours.paths])
    assert len(ours.paths) == PHOTOS["mediapipe"]
    assert (ours.probabilities.argmax(axis=1) == labels).mean() >= LEAST_ACCURACY
    found = of_mediapipe[precision]
    # Another resize: were no probability to move, the client would not have resized at all.
    assert np.abs(found - ours.probabilities).max() > 1e-3
    assert same_class(found, ours.probabilities) >= LEAST_AGREEMENT["mediapipe"]


@pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed")
def test_both_runtimes_of_the_page_agree(cats: Run, photo_folder: Path, tmp_path: Path) -> None:
    done = toolchain("bundle", cats.folder, "--for", "web", "--json")
    if done.returncode == 4:
        pytest.skip(done.stderr.splitlines()[0])
    answer = json.loads(done.stdout)
    assert {Path(model).suffix for model in answer["models"]} == {".onnx", ".tflite"}
    unzip(Path(answer["archive"]), tmp_path)
    folder = tmp_path / "cats-web"
    few = tmp_path / "photos"
    few.mkdir()
    for path in sorted(photo_folder.iterdir())[:: PHOTOS["mediapipe"] // PHOTOS["page"]]:
        (few / path.name).symlink_to(path)
    (folder / "photos").symlink_to(few)
    with serving(folder) as url, browsing(tmp_path / "profile") as page:
        page.open(url)
        page.wait(says("is open"), 120)
        for model in answer["models"]:
            ours: Answers = our_answers(folder / model, few)
            assert len(ours.paths) == PHOTOS["page"]
            found = answers_of(page, model, ours, few)
            assert same_class(found, ours.probabilities) >= LEAST_AGREEMENT["page"], model
