"""How far MediaPipe's own resize takes an exported .tflite from what the toolchain answers.

    python benchmarks/clients.py runs/cats-vs-dogs-mobilenetv2 --archive cats_vs_dogs.tar

Test photos of the run, from the archive that it was made from, go through mediapipe's
ImageClassifier, which decodes nothing and resizes by itself, and through our runner. Needs the
extra `clients`. Writes a JSON to stdout.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import mediapipe
import numpy as np
from mediapipe.tasks import python as tasks
from mediapipe.tasks.python import vision
from PIL import Image

from toolchain.contract import read_contract_file
from toolchain.data.containers import open_container
from toolchain.data.limit import drawn_rows
from toolchain.images.decode import open_rgb
from toolchain.images.preprocess import resize
from toolchain.models import locate
from toolchain.runtimes import IsolatedRunner
from toolchain.values import Dataset


def read_photos(archive: Path, dataset: Dataset, count: int) -> list[tuple[Image.Image, int]]:
    """Decoded photos of the test split with their labels, as many of each class as in it."""
    rows = drawn_rows(dataset, "test", count, seed=0)
    labels = {dataset.names[row]: dataset.labels[row] for row in rows}
    data = dict(open_container(archive).read(set(labels)))
    return [(open_rgb(data[name], name), label) for name, label in labels.items()]


def ours(model: Path, photos: list[tuple[Image.Image, int]]) -> np.ndarray:
    with IsolatedRunner.open(model) as runner:
        frame = runner.contract.preprocessing.frame
        return runner.run(np.stack([resize(photo, frame) for photo, _ in photos]))


def theirs(model: Path, photos: list[tuple[Image.Image, int]]) -> np.ndarray:
    options = vision.ImageClassifierOptions(tasks.BaseOptions(model_asset_path=str(model)))
    rows = []
    with vision.ImageClassifier.create_from_options(options) as classifier:
        for photo, _ in photos:
            image = mediapipe.Image(mediapipe.ImageFormat.SRGB, np.array(photo))
            categories = classifier.classify(image).classifications[0].categories
            rows.append([c.score for c in sorted(categories, key=lambda c: c.index)])
    return np.asarray(rows)


def compare(model: Path, photos: list[tuple[Image.Image, int]]) -> dict[str, object]:
    labels = np.asarray([label for _, label in photos])
    mine, other = ours(model, photos), theirs(model, photos)
    difference = np.abs(mine - other)
    return {
        "file": model.name,
        "photos": len(photos),
        "same top-1": float((mine.argmax(1) == other.argmax(1)).mean()),
        "accuracy, our resize": float((mine.argmax(1) == labels).mean()),
        "accuracy, MediaPipe's resize": float((other.argmax(1) == labels).mean()),
        "probability difference, mean": round(float(difference.mean()), 5),
        "probability difference, 99th percentile": round(float(np.percentile(difference, 99)), 4),
        "probability difference, largest": round(float(difference.max()), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--archive", required=True, help="from here or from $TOOLCHAIN_DATA")
    parser.add_argument("--photos", type=int, default=500)
    given = parser.parse_args()
    dataset = Dataset.load(given.run / "data")
    photos = read_photos(locate(given.archive, "datasets"), dataset, given.photos)
    export = given.run / "export"
    names = [name for name in read_contract_file(export) if name.endswith(".tflite")]
    rows = [compare(export / name, photos) for name in names]
    print(json.dumps({"mediapipe": mediapipe.__version__, "files": rows}, indent=1))


if __name__ == "__main__":
    main()
