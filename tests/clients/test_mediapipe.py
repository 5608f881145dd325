"""MediaPipe's ImageClassifier, which Android's and iOS' tasks are made of, on files of a bundle."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tiny_network
from conftest import our_answers
from mediapipe_client import categories, classifier, read_photo, scores
from PIL import Image
from tiny_tflite import Builder, schema

from toolchain.contract import METADATA_KEY, Contract, TensorSpec
from toolchain.export.flatbuffer import embed
from toolchain.export.task_metadata import BUFFER, append_labels, task_metadata
from toolchain.images.corners import resize_at_corners
from toolchain.images.preprocess import Frame, Preprocessing, resize

pytest.importorskip("mediapipe", reason="extra `clients` is not installed")

FILES = ("tiny.fp32.tflite", "tiny.int8-qat.tflite")
LEAST_AGREEMENT = 0.99
TOLERANCE = {"tiny.fp32.tflite": 1e-4, "tiny.int8-qat.tflite": 1.5 / 256}
# Mean difference of a byte, 0..255, between its resize and the rule that we found for it: it
# rounds positions.
MOST_OFF_THE_RULE = 0.5
PROBE = 24
# What is black around the middle of a picture of twice the network's size, and its share.
SIDE = tiny_network.SIZE // 2
EDGE = (1 - tiny_network.FRAME.crop) / 2


@pytest.mark.parametrize("name", FILES)
def test_pictures_of_the_models_own_size_are_answered_as_by_our_runner(
    name: str, tiny_run, tmp_path: Path
) -> None:
    middles, labels = tiny_network.images(60, seed=5)
    pixels = np.pad(middles, ((0, 0), (SIDE, SIDE), (SIDE, SIDE), (0, 0)))
    for at, picture in enumerate(pixels):
        Image.fromarray(picture).save(tmp_path / f"{at:02}.png")
    ours = our_answers(tiny_run.stage("export") / name, tmp_path).probabilities
    with classifier(tiny_run.stage("export") / name) as opened:
        found = np.stack([scores(opened, picture, EDGE) for picture in pixels])
        names = {c.category_name for c in categories(opened, pixels[0], EDGE)}
    np.testing.assert_allclose(found, ours, atol=TOLERANCE[name])
    assert (found.argmax(axis=1) == labels).mean() >= LEAST_AGREEMENT
    assert names == set(tiny_network.CLASSES)


@pytest.mark.parametrize("name", FILES)
def test_photos_that_it_resizes_itself_get_the_same_class(name: str, tiny_run, photos) -> None:
    model = tiny_run.stage("export") / name
    ours = our_answers(model, photos)
    clear = [at for at, row in enumerate(np.sort(ours.probabilities)) if row[-1] - row[-2] > 0.1]
    with classifier(model) as opened:
        found = [scores(opened, read_photo(ours.paths[at]), EDGE) for at in clear]
    same = np.argmax(found, axis=1) == ours.probabilities[clear].argmax(axis=1)
    assert len(clear) >= 40
    assert same.mean() >= LEAST_AGREEMENT


@pytest.mark.parametrize(
    ("kind", "code"), [("android", "PhotoClassifier.kt"), ("ios", "PhotoClassifier.swift")]
)
def test_the_model_that_a_bundles_code_opens_is_classified_with(kind, code, unpacked) -> None:
    """What the pasted code does on a phone, by the same tasks: no label and no number from us."""
    folder = unpacked(kind).folder
    text = (folder / code).read_text()
    (name,) = re.findall(r'"([^"]+\.tflite)"', text)
    (edge,) = re.findall(r"(?i)\bedge\b.* = ([\d.]+)f?\n", text)
    pixels, labels = tiny_network.images(30, seed=9)
    with classifier(folder / name) as opened:
        found = [categories(opened, picture, float(edge))[0] for picture in pixels]
    assert float(edge) == EDGE
    assert [one.category_name for one in found] == [tiny_network.CLASSES[label] for label in labels]


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose answer is its input: every byte of the resized picture is a class."""
    build, count = Builder(), PROBE * PROBE * 3
    source = build.tensor("input", (1, PROBE, PROBE, 3), "float32")
    shape = build.tensor("shape", (2,), "int32", value=[1, count])
    options = schema.ReshapeOptionsT()
    options.newShape = [1, count]
    output = build.tensor("output", (1, count), "float32")
    build.op("RESHAPE", [source, shape], output, options)
    build.graph.inputs, build.graph.outputs = [source], [output]
    contract = Contract(
        name="probe",
        format="tflite",
        precision="fp32",
        labels=tuple(f"{at}" for at in range(count)),
        preprocessing=Preprocessing(PROBE, 0.0, 255.0),
        input=TensorSpec("input", (1, PROBE, PROBE, 3), "float32"),
        output=TensorSpec("output", (1, count), "float32"),
        lineage={},
    )
    path = tmp_path_factory.mktemp("probe") / "probe.tflite"
    buffers = {METADATA_KEY: contract.dumps().encode(), BUFFER: task_metadata(contract)}
    path.write_bytes(append_labels(embed(build.pack(None), buffers), contract))
    return path


def seen(opened, picture: np.ndarray, edge: float = 0.0) -> np.ndarray:
    """What the model gets of a picture, float64 [PROBE, PROBE, 3] in 0..255."""
    return 255 * scores(opened, picture, edge).reshape(PROBE, PROBE, 3)


def test_how_it_resizes(probe: Path) -> None:
    """What docs/deploy-android.md tells; a MediaPipe that does otherwise ends this test."""
    waves = np.sin(np.arange(240) / 40)[:, None] + np.cos(np.arange(320) / 50)[None]
    photo = np.repeat((127 + 60 * waves)[:, :, None], 3, axis=2).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    with classifier(probe) as opened:
        fits = noise[:PROBE, :PROBE]
        np.testing.assert_allclose(seen(opened, fits), fits, atol=1e-3)
        for picture in (photo, noise):
            found = seen(opened, picture)
            ours = resize(Image.fromarray(picture), Frame(PROBE))
            assert np.abs(found - resize_at_corners(picture, PROBE)).mean() < MOST_OFF_THE_RULE
            assert np.abs(found - ours).mean() > 10 * MOST_OFF_THE_RULE


@pytest.mark.parametrize("crop", [0.875, 0.5])
def test_it_looks_at_the_region_that_the_code_of_the_bundles_names(
    probe: Path, crop: float
) -> None:
    waves = np.sin(np.arange(240) / 40)[:, None] + np.cos(np.arange(320) / 50)[None]
    photo = np.repeat((127 + 60 * waves)[:, :, None], 3, axis=2).astype(np.uint8)
    middle = np.asarray(Frame(PROBE, crop).middle(Image.fromarray(photo)))
    with classifier(probe) as opened:
        found = seen(opened, photo, (1 - crop) / 2)
    assert np.abs(found - resize_at_corners(middle, PROBE)).mean() < MOST_OFF_THE_RULE
    assert np.abs(found - resize_at_corners(photo, PROBE)).mean() > 4 * MOST_OFF_THE_RULE
