"""photos.csv: what a Dataset knows of each photo, a line each, for people and for us.

    name,class,split,sha256,row
    cat/1.jpg,cat,train,9f86d081884c7d65…,0        row: where it lies in pixels.npy

Read and written line by line, so that a million photos never become a million Python objects.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from toolchain.columns import Choices, Hashes, Numbers, Texts, hash_bytes
from toolchain.errors import ModelError
from toolchain.files import writing

PHOTOS_FILE: Final = "photos.csv"
_HEADER: Final = ["name", "class", "split", "sha256", "row"]


@dataclass(frozen=True, slots=True)
class Photos:
    """The columns of photos.csv; `labels` are positions in the dataset's classes."""

    names: Sequence[str]
    labels: Sequence[int]
    splits: Sequence[str]
    sha256: Sequence[str]
    rows: Sequence[int]


def write_photos(photos: Photos, classes: Sequence[str], folder: Path) -> None:
    """Write photos.csv; empty `rows` stand for 0, 1, 2, ...

    Raises:
      MachineError: the disk is full or the place cannot be written.
    """
    rows = photos.rows or range(len(photos.names))
    path = folder / PHOTOS_FILE
    columns = (photos.names, photos.labels, photos.splits, photos.sha256, rows)
    with (
        writing(path),
        path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(_HEADER)
        for name, label, split, sha256, row in zip(*columns, strict=True):
            lines.writerow((name, classes[label], split, sha256, row))


def read_photos(classes: Sequence[str], splits: Sequence[str], folder: Path) -> Photos:
    """Read what `write_photos` wrote; `rows` are empty where they are 0, 1, 2, ...

    Raises:
      ModelError: it is missing, damaged, or names another class or split.
    """
    path = folder / PHOTOS_FILE
    labels, which, rows, hashes = array("l"), array("l"), array("l"), bytearray()

    def names() -> Iterator[str]:
        known = {name: label for label, name in enumerate(classes)}
        places = {split: place for place, split in enumerate(splits)}
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            lines = csv.reader(file, strict=True)
            if next(lines, None) != _HEADER:
                raise ValueError(f"expected the columns {','.join(_HEADER)}")
            for name, class_name, split, sha256, row in lines:
                labels.append(known[class_name])
                which.append(places[split])
                rows.append(int(row))
                hashes.extend(hash_bytes(sha256))
                yield name

    try:
        texts = Texts(names())
    except (OSError, ValueError, KeyError, OverflowError, csv.Error) as error:
        raise ModelError(f"cannot be read: {error}", str(path), "run: make train") from error
    numbers = np.asarray(rows)
    in_order = np.array_equal(numbers, np.arange(len(texts)))
    return Photos(
        texts,
        Numbers(np.asarray(labels)),
        Choices(splits, np.asarray(which)),
        Hashes.packed(hashes),
        () if in_order else Numbers(numbers),
    )
