"""Classify photos with the .onnx file beside this script: numpy, Pillow and onnxruntime suffice.

Example: python infer_onnx.py photo.jpg more-photos/ --top 3"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".gif"}
BATCH = 16


def read_contract(file: Path) -> dict:
    """What contract.json beside a model says of it: labels, preprocessing, tensors."""
    return json.loads(file.with_name("contract.json").read_bytes())["files"][file.name]["contract"]


def to_pixels(photo: Image.Image, how: dict) -> np.ndarray:
    """A photo as uint8 RGB [size, size, 3], as in training: upright, on white, the middle of it."""
    photo = ImageOps.exif_transpose(photo)
    if photo.mode.startswith("I"):  # 16 bits of grey
        photo = Image.fromarray((np.clip(np.array(photo), 0, 65535) >> 8).astype(np.uint8))
    if photo.mode in ("RGBA", "LA", "PA") or "transparency" in photo.info:
        photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo.convert("RGBA"))
    edges = tuple(int(side * (1 - how["crop"]) / 2 + 1e-6) for side in photo.size)
    middle = ImageOps.crop(photo.convert("RGB"), edges)
    return np.asarray(middle.resize((how["size"], how["size"]), Image.Resampling.BILINEAR))


class Classifier:
    """An .onnx file, opened, with its contract."""

    def __init__(self, model: Path) -> None:
        self.contract = read_contract(model)
        self.session = onnxruntime.InferenceSession(model)

    def classify(self, pixels: np.ndarray) -> np.ndarray:
        """Uint8 [n, size, size, 3] -> probabilities, float32 [n, classes]."""
        how = self.contract["preprocessing"]
        if self.contract["input"]["dtype"] == "float32":  # uint8 takes the RGB bytes as they are
            pixels = (pixels.astype(np.float32) - how["mean"]) / how["std"]
        pixels = pixels.transpose(0, 3, 1, 2) if self.contract["layout"] == "NCHW" else pixels
        rows = self.session.run(None, {self.contract["input"]["name"]: pixels})[0]
        if self.contract["output_kind"] == "logits":  # the softmax is left to us
            rows = np.exp(rows - np.logaddexp.reduce(rows, axis=1, keepdims=True))
        return rows


def find_photos(paths: list[Path]) -> list[Path]:
    """The paths themselves; for a folder the photos below it, in order of their names."""
    found = [sorted(path.rglob("*")) if path.is_dir() else [path] for path in paths]
    return [photo for inside in found for photo in inside if photo.suffix.lower() in SUFFIXES]


def main() -> None:
    """Print a line a photo: its path, then label and probability of the best classes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="+", type=Path, help="photos, or folders of photos")
    parser.add_argument("--model", type=Path, help="else the one beside this script")
    parser.add_argument("--top", type=int, default=1, help="classes to print a photo")
    given = parser.parse_args()
    classifier = Classifier(given.model or min(Path(__file__).parent.glob("*.onnx")))
    photos = find_photos(given.photos)
    for start in range(0, len(photos), BATCH):
        step = photos[start : start + BATCH]
        pixels = [to_pixels(Image.open(one), classifier.contract["preprocessing"]) for one in step]
        for path, row in zip(step, classifier.classify(np.stack(pixels)), strict=True):
            best = np.argsort(-row, kind="stable")[: given.top]
            answers = (f"{classifier.contract['labels'][at]} {row[at]:.6f}" for at in best)
            print(path, *answers, sep="\t")


if __name__ == "__main__":
    main()
