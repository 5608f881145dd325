"""Writes digits as Kaggle's competition gives them, from the class folders of MNIST.

    TOOLCHAIN_DATA=/data python benchmarks/digit_csv.py FOLDER

leaves train.csv with 60,000 labelled rows, test.csv with 10,000 labelled ones, which recipes take
as the test split, and unlabelled.csv with the pixels of test.csv alone, as the competition's own.
With --score FILE a submission for unlabelled.csv is held against the labels of test.csv instead.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image

from toolchain.data.source import find_source

PIXELS = [f"pixel{number}" for number in range(28 * 28)]


def write(archive: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as opened:

        def table(name: str, header: list[str]):
            file = opened.enter_context((folder / name).open("w", newline=""))
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(header)
            return rows

        labelled = {split: table(f"{split}.csv", ["label", *PIXELS]) for split in ("train", "test")}
        unlabelled = table("unlabelled.csv", PIXELS)
        for item, data in find_source(archive).read():
            image = Image.open(io.BytesIO(data)).convert("L")
            pixels = np.asarray(image, np.uint8).ravel().tolist()
            labelled[item.split].writerow([item.class_name, *pixels])
            if item.split == "test":
                unlabelled.writerow(pixels)


def score(folder: Path, submission: Path) -> float:
    """Share of the rows that are labelled as in test.csv."""
    with (folder / "test.csv").open() as file:
        next(file)
        expected = [line.partition(",")[0] for line in file]
    with submission.open(newline="") as file:
        given = {row["ImageId"]: row["Label"] for row in csv.DictReader(file)}
    if len(given) != len(expected):
        raise SystemExit(f"expected {len(expected):,} rows, received {len(given):,}")
    right = sum(given.get(str(at)) == label for at, label in enumerate(expected, start=1))
    return right / len(expected)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--score", type=Path, metavar="FILE", help="a submission")
    chosen = parser.parse_args()
    if chosen.score:
        print(f"{100 * score(chosen.folder, chosen.score):.2f} % of the rows are labelled right")
        return
    write(Path(os.environ["TOOLCHAIN_DATA"]) / "datasets" / "mnist.tar.xz", chosen.folder)


if __name__ == "__main__":
    main()
