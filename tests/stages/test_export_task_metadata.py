"""TFLite Metadata, read back with the schema's own code and by MediaPipe's ImageClassifier."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from networks import photos, random_network, recipe_of

from toolchain.contract import Contract
from toolchain.export.flatbuffer import tensor_specs
from toolchain.export.task_metadata import BUFFER
from toolchain.export.tflite import carry, convert
from toolchain.images.preprocess import Preprocessing
from toolchain.quantization.calibrate import calibrate
from toolchain.quantization.fold import fold
from toolchain.quantization.snap import snap
from toolchain.runtimes import find_contract, open_runner
from toolchain.training.batches import Examples
from toolchain.training.stage import preparation

mediapipe = pytest.importorskip("mediapipe", reason="extra `clients` is not installed")

SIZE = 33
LABELS = ("cat", "Bär", "白い犬", "a b, c")
KINDS = {"fp32": "float32", "int8": "float32", "uint8": "uint8"}
# Scores of two runtimes that compute the same file; a step of uint8 probabilities.
TOLERANCE = {"fp32": 1e-4, "int8": 1e-4, "uint8": 1 / 256}


def _contract(kind: str, data: bytes, way: Preprocessing) -> Contract:
    precision = "fp32" if kind == "fp32" else "int8-qat"
    return Contract("tiny", "tflite", precision, LABELS, way, *tensor_specs(data), lineage={})


@pytest.fixture(scope="module")
def files(small_vgg_network, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A random network as a float file, an int8 file, and one with uint8 input and output."""
    folder = tmp_path_factory.mktemp("task")
    recipe = recipe_of(SIZE, "vgg16", model={"head": {"pool": "flatten", "dense": [16]}})
    graph = fold(random_network(recipe, len(LABELS)))
    way = Preprocessing.of(recipe.input.pixels, SIZE)
    examples = Examples(photos(32, SIZE), np.zeros(32, np.int64), np.arange(32))
    ranges = calibrate(graph, examples, preparation(recipe), way, "minmax")
    graph = snap(graph, ranges)
    paths = {}
    for kind, io in KINDS.items():
        data = convert(graph, None if kind == "fp32" else ranges, io)
        paths[kind] = folder / f"{kind}.tflite"
        paths[kind].write_bytes(carry(data, _contract(kind, data, way)))
    return paths


def _metadata(path: Path):
    from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata_schema

    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    entries = [model.Metadata(place) for place in range(model.MetadataLength())]
    (buffer,) = (entry.Buffer() for entry in entries if entry.Name() == BUFFER.encode())
    data = bytes(model.Buffers(buffer).DataAsNumpy())
    assert data[4:8] == b"M001"
    return metadata_schema, metadata_schema.ModelMetadataT.InitFromPackedBuf(data, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_reads_what_was_written(files: dict[str, Path], kind: str) -> None:
    tables, model = _metadata(files[kind])
    assert (model.name, model.minParserVersion) == (b"tiny", b"1.0.0")
    (subgraph,) = model.subgraphMetadata
    (given,), (returned,) = subgraph.inputTensorMetadata, subgraph.outputTensorMetadata
    assert given.name == b"image"
    assert given.content.contentPropertiesType == tables.ContentProperties.ImageProperties
    image = given.content.contentProperties
    assert image.colorSpace == tables.ColorSpaceType.RGB
    assert (image.defaultSize.width, image.defaultSize.height) == (SIZE, SIZE)
    (unit,) = given.processUnits
    assert unit.optionsType == tables.ProcessUnitOptions.NormalizationOptions
    assert (list(unit.options.mean), list(unit.options.std)) == ([115.0], [1.0])
    ends = [0.0, 255.0] if kind == "uint8" else [-115.0, 140.0]
    assert [*given.stats.min, *given.stats.max] == ends
    assert returned.name == b"probabilities"
    assert returned.content.contentPropertiesType == tables.ContentProperties.FeatureProperties
    (labels,) = returned.associatedFiles
    assert (labels.name, labels.type) == (
        b"labels.txt",
        tables.AssociatedFileType.TENSOR_AXIS_LABELS,
    )
    # Calibration or thresholds would change scores; there are none.
    assert not returned.processUnits


@pytest.mark.parametrize("kind", KINDS)
def test_the_labels_lie_in_a_zip_behind_the_model(files: dict[str, Path], kind: str) -> None:
    with zipfile.ZipFile(BytesIO(files[kind].read_bytes())) as archive:
        (entry,) = archive.infolist()
        assert entry.compress_type == zipfile.ZIP_STORED
        assert archive.read("labels.txt").decode().splitlines() == list(LABELS)


@pytest.mark.parametrize("kind", KINDS)
def test_mediapipe_classifies_as_our_runner_does(files: dict[str, Path], kind: str) -> None:
    """Pixels of the network's own size, so that no resize comes between the two."""
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.ImageClassifierOptions(
        base_options=BaseOptions(model_asset_path=str(files[kind]))
    )
    pixels = photos(16, SIZE, seed=5)
    runner = open_runner(files[kind])
    expected = runner.run(pixels)
    assert expected.std(axis=0).max() > 0.02
    with vision.ImageClassifier.create_from_options(options) as classifier:
        for photo, row in zip(pixels, expected, strict=True):
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=photo)
            (head,) = classifier.classify(image).classifications
            scores = {category.category_name: category.score for category in head.categories}
            found = np.array([scores[label] for label in LABELS])
            assert np.abs(found - row).max() <= TOLERANCE[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_our_own_contract_is_still_read(files: dict[str, Path], kind: str) -> None:
    contract = find_contract(files[kind])
    assert contract is not None
    assert contract.labels == LABELS
    given, returned = tensor_specs(files[kind].read_bytes())
    assert (contract.input, contract.output) == (given, returned)
    assert (given.name, given.shape) == ("image", (1, SIZE, SIZE, 3))
    assert given.dtype == ("uint8" if kind == "uint8" else "float32")


def test_the_same_model_is_the_same_bytes(files: dict[str, Path]) -> None:
    contract = find_contract(files["fp32"])
    data = files["fp32"].read_bytes()
    assert contract is not None
    assert carry(data, contract) == carry(data, contract)
