"""Real photos and real published weights: needs $TOOLCHAIN_DATA."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import tf_keras
from command_line import settings, toolchain
from networks import recipe_of

from toolchain.contract import read_contract_file
from toolchain.data.containers import open_container
from toolchain.images.preprocess import Frame, pixels_of
from toolchain.inspection.onnx import optimised_ops
from toolchain.models import models_folder
from toolchain.run import Run
from toolchain.training.network import backbone_layers, build_network
from toolchain.training.pretrained import find_imagenet
from toolchain.training.stage import _load_weights
from toolchain.training.weights import variables

pytestmark = pytest.mark.real

ARCHIVE = "datasets/cats_vs_dogs.tar"
PHOTOS_A_CLASS = 200
TOLERANCE = {
    # Largest difference of an activation; MobileNetV2's end at 6.
    "mobilenet features": 1e-3,
    # VGG16's reach hundreds in the middle of the network: a share of the largest.
    "vgg features": 1e-4,
}
BOUNDS = {
    "vgg16 fp32 accuracy": 0.75,
    "mobilenet fp32 accuracy": 0.983,
    "points lost to int8": 0.5,
    "int8 latency against fp32": 0.65,
}
CONVOLUTIONS = 52
CHAIN_SECONDS = 1500


@pytest.fixture(scope="module")
def photos(toolchain_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with as many cats as dogs out of the archive."""
    container = open_container(toolchain_data / ARCHIVE)
    names = sorted(e.name for e in container.entries() if e.name.endswith(".jpg"))
    chosen: set[str] = set()
    for kind in ("cat", "dog"):
        of_kind = (name for name in names if Path(name).name.startswith(kind))
        chosen.update(itertools.islice(of_kind, PHOTOS_A_CLASS))
    folder = tmp_path_factory.mktemp("photos")
    for name, data in container.read(chosen):
        target = folder / Path(name).name.split(".")[0] / Path(name).name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(data)
    return folder


def batch(photos: Path, size: int) -> np.ndarray:
    paths = sorted(photos.rglob("*.jpg"))[::100]
    return np.stack([pixels_of(path.read_bytes(), path.name, Frame(size)) for path in paths])


@pytest.fixture
def shared_weights(toolchain_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """$TOOLCHAIN_DATA/weights, and nothing in Keras' own cache."""
    monkeypatch.setenv("KERAS_HOME", str(toolchain_data / "no such folder"))
    return toolchain_data / "weights"


def test_mobilenet_with_imagenet_weights_is_that_of_keras(shared_weights: Path, photos) -> None:
    recipe = recipe_of(160, model={"weights": "imagenet", "alpha": 1.0})
    path = find_imagenet(recipe)
    assert path is not None
    assert path.parent == shared_weights
    ours = build_network(recipe, 2)
    assert path.name in _load_weights(ours, recipe, path)[0]
    theirs = tf_keras.applications.MobileNetV2(
        weights=None, include_top=False, input_shape=(160, 160, 3)
    )
    theirs.load_weights(path)
    pixels = batch(photos, 160).astype(np.float32)
    expected = theirs(tf_keras.applications.mobilenet_v2.preprocess_input(pixels.copy())).numpy()
    found = tf_keras.Model(ours.input, ours.get_layer("out_relu").output)(pixels / 127.5 - 1)
    assert expected.max() > 1
    assert np.abs(found.numpy() - expected).max() < TOLERANCE["mobilenet features"]


def test_vgg16_with_imagenet_weights_sees_what_keras_sees(shared_weights: Path, photos) -> None:
    recipe = recipe_of(96, "vgg16", model={"weights": "imagenet"})
    ours = build_network(recipe, 2)
    _load_weights(ours, recipe, find_imagenet(recipe))
    theirs = tf_keras.applications.VGG16(weights=None, include_top=False, input_shape=(96, 96, 3))
    theirs.load_weights(shared_weights / "vgg16_no_top.h5")
    assert set(variables(backbone_layers(ours))) == set(variables(theirs.layers))
    pixels = batch(photos, 96).astype(np.float32)
    bgr = tf_keras.applications.vgg16.preprocess_input(pixels.copy())
    # The middle of block4_conv1 is computed from the image's inside alone.
    expected = tf_keras.Model(theirs.input, theirs.get_layer("block4_conv1").output)(bgr).numpy()
    layer = ours.get_layer("block4_conv1_relu")
    found = tf_keras.Model(ours.input, layer.output)(pixels - 115.0).numpy()
    inside = (slice(None), slice(5, 7), slice(5, 7))
    bound = TOLERANCE["vgg features"] * expected.max()
    assert np.abs(found - expected)[inside].max() < bound


VGG16 = """
[data]
path = {path}
validation = 0.2
test = 0.3
split = "rank"

[input]
size = 64

[model]
backbone = "vgg16"

[train]
epochs = 60
batch_size = 16

[fine_tune]
epochs = 0

[quantize]
epochs = 1
calibration_images = 32

[verify]
accuracy_drop = 2
"""


def test_vgg16_goes_through_the_chain(toolchain_data: Path, photos: Path, tmp_path: Path) -> None:
    """QAT included; verify holds its gates, so the exit code is 0."""
    recipe = tmp_path / "vgg.toml"
    recipe.write_text(VGG16.format(path=json.dumps(str(photos))))
    options = ["--recipe", recipe, "--runs", tmp_path / "runs"]
    done = toolchain("verify", *options, TOOLCHAIN_DATA=str(toolchain_data))
    assert done.returncode == 0, done.stderr
    run = Run(tmp_path / "runs", "vgg")
    found = _verified(run)
    assert len(found) == 4
    assert found["vgg.fp32.onnx"]["accuracy"]["value"] > BOUNDS["vgg16 fp32 accuracy"]
    quantized = json.loads((run.stage("quantize") / "quantized.json").read_text())
    assert [record["epoch"] for record in quantized["history"]] == [0, 1]
    ops = optimised_ops(run.stage("export") / "vgg.int8-qat.onnx")
    assert (ops["QLinearConv"], ops["Conv"]) == (13, 0)


def _verified(run: Run) -> dict[str, dict]:
    data = json.loads((run.stage("verify") / "verification.json").read_text())
    assert data["passed"] is True
    return {file["file"]: file for file in data["files"]}


NAME = "cats-vs-dogs-mobilenetv2"


@pytest.fixture(scope="module")
def cats(toolchain_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The recipe that comes along, on all 4,000 photos, timed on one thread."""
    root = tmp_path_factory.mktemp("runs")
    done = toolchain(
        "benchmark",
        "--recipe",
        models_folder() / NAME / "recipe.toml",
        "--runs",
        root,
        *settings(benchmark__threads="[1]"),
        timeout=CHAIN_SECONDS,
        TOOLCHAIN_DATA=str(toolchain_data),
    )
    assert done.returncode == 0, done.stderr
    return Run(root, NAME)


@pytest.mark.slow
@pytest.mark.timeout(CHAIN_SECONDS)
def test_cats_and_dogs_are_told_apart_and_int8_keeps_it(cats: Run) -> None:
    accuracies = {name: file["accuracy"]["value"] for name, file in _verified(cats).items()}
    for kind in ("tflite", "onnx"):
        exact = accuracies[f"{NAME}.fp32.{kind}"]
        assert exact >= BOUNDS["mobilenet fp32 accuracy"]
        lost = 100 * (exact - accuracies[f"{NAME}.int8-qat.{kind}"])
        assert lost <= BOUNDS["points lost to int8"]


@pytest.mark.slow
@pytest.mark.timeout(CHAIN_SECONDS)
def test_the_integer_onnx_file_is_faster(cats: Run) -> None:
    data = json.loads((cats.stage("benchmark") / "benchmark.json").read_text())
    p50 = {
        row["file"]: row["latency"]["p50_ms"]["value"]
        for row in data["measurements"]
        if row["batch"] == 1
    }
    ratio = p50[f"{NAME}.int8-qat.onnx"] / p50[f"{NAME}.fp32.onnx"]
    assert ratio <= BOUNDS["int8 latency against fp32"]


@pytest.mark.slow
@pytest.mark.timeout(CHAIN_SECONDS)
def test_onnxruntime_runs_every_convolution_in_integers(cats: Run) -> None:
    path = cats.stage("export") / f"{NAME}.int8-qat.onnx"
    ops = optimised_ops(path)
    assert (ops["QLinearConv"], ops["Conv"]) == (CONVOLUTIONS, 0)
    labels = read_contract_file(path.parent)[path.name].contract.labels
    assert labels == ("cat", "dog")
