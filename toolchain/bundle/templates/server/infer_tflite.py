"""Classify photos with the .tflite file beside this script: numpy, Pillow, ai-edge-litert suffice.

Example: python infer_tflite.py photo.jpg more-photos/ --top 3"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".gif"}
# EXIF's orientation: Image.Transpose. ImageOps.exif_transpose writes all tags anew, which may fail.
UPRIGHT = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


def read_contract(file: Path) -> dict:
    """What contract.json beside a model says of it: labels, preprocessing, tensors."""
    return json.loads(file.with_name("contract.json").read_bytes())["files"][file.name]["contract"]


def to_pixels(photo: Image.Image, how: dict) -> np.ndarray:
    """A photo as uint8 RGB [size, size, 3], as in training: upright, on white, the middle of it."""
    turn = UPRIGHT.get(photo.getexif().get(0x0112))
    photo = photo if turn is None else photo.transpose(turn)
    if photo.mode.startswith("I"):  # 16 bits of grey
        photo = Image.fromarray((np.clip(np.array(photo), 0, 65535) >> 8).astype(np.uint8))
    if photo.mode in ("RGBA", "LA", "PA") or "transparency" in photo.info:
        photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo.convert("RGBA"))
    edges = tuple(int(side * (1 - how["crop"]) / 2 + 1e-6) for side in photo.size)
    middle = ImageOps.crop(photo.convert("RGB"), edges)
    return np.asarray(middle.resize((how["size"], how["size"]), Image.Resampling.BILINEAR))


class Classifier:
    """A .tflite file, opened, with its contract."""

    def __init__(self, model: Path) -> None:
        self.contract = read_contract(model)
        self.interpreter = Interpreter(str(model))
        self.interpreter.allocate_tensors()

    def classify(self, photo: np.ndarray) -> np.ndarray:
        """Uint8 [size, size, 3] -> probabilities, float32 [classes]."""
        how, output = self.contract["preprocessing"], self.contract["output"]
        if self.contract["input"]["dtype"] == "float32":  # uint8 takes the RGB bytes as they are
            photo = (photo.astype(np.float32) - how["mean"]) / how["std"]
        self.interpreter.set_tensor(self.interpreter.get_input_details()[0]["index"], photo[None])
        self.interpreter.invoke()
        row = self.interpreter.get_tensor(self.interpreter.get_output_details()[0]["index"])[0]
        if output["scale"] is not None:
            row = (row.astype(np.float32) - output["zero_point"]) * output["scale"]
        if self.contract["output_kind"] == "logits":  # the softmax is left to us
            row = np.exp(row - np.logaddexp.reduce(row))
        return row


def find_photos(paths: list[Path]) -> list[Path]:
    """The paths themselves; for a folder the photos below it, in order of their names."""
    found = []
    for path in paths:
        below = [one for one in sorted(path.rglob("*")) if is_photo(one)]
        found += below or [path]  # an empty folder is told of as what cannot be read
    return found


def is_photo(path: Path) -> bool:
    """Whether a path below a folder is meant; hidden files are not."""
    return path.suffix.lower() in SUFFIXES and path.name[0] != "." and path.is_file()


def read_pixels(path: Path, how: dict) -> np.ndarray | None:
    """The pixels of a photo; None where it cannot be read, which a line on stderr tells."""
    try:
        return to_pixels(Image.open(path), how)
    except Exception as error:
        print(f"error: expected a photo: {path}: {error}", file=sys.stderr)
        return None


def main() -> None:
    """Print a line a photo: its path, then label and probability of the best classes.

    Ends with 2 when a photo could not be read, after the others had their lines.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="+", type=Path, help="photos, or folders of photos")
    parser.add_argument("--model", type=Path, help="else the one beside this script")
    parser.add_argument("--top", type=int, default=1, help="classes to print a photo")
    given = parser.parse_args()
    classifier = Classifier(given.model or min(Path(__file__).parent.glob("*.tflite")))
    photos, how, done = find_photos(given.photos), classifier.contract["preprocessing"], 0
    for path in photos:
        pixels = read_pixels(path, how)
        if pixels is None:
            continue
        row = classifier.classify(pixels)
        best = np.argsort(-row, kind="stable")[: given.top]
        answers = (f"{classifier.contract['labels'][at]} {row[at]:.6f}" for at in best)
        print(path, *answers, sep="\t")
        done += 1
    sys.exit(0 if done == len(photos) else 2)


if __name__ == "__main__":
    main()
