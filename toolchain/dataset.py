"""The first value of the flow: photos with labels and splits, saved as JSON beside a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from toolchain.columns import Hashes, Names, PhotoTable
from toolchain.errors import ModelError
from toolchain.images.stored import PixelReader, StoredPixels
from toolchain.saved import load_as, save_value

Split = Literal["train", "validation", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")
PIXELS_FILE: Final = "pixels.npy"
PHOTOS_FILE: Final = "photos.tsv"
# Part of the data stage's key: raise it when saved Datasets cannot be read as before.
DATASET_FORM: Final = 2


@dataclass(frozen=True, slots=True)
class Dataset:
    """Decoded, resized, split images of one recipe.

    Attributes:
      folder: where it is saved; holds pixels.npy, uint8 [n, size, size, 3] RGB, unless streamed.
      classes: names, in the order of the labels.
      size: width and height in pixels.
      names: each image's name in its source, packed.
      labels: each image's class, an index into `classes`.
      splits: each image's split.
      sha256: each image's hash, of its resized pixels, packed.
      skipped: (name, reason) of images left out.
      notes: what was assumed, one sentence each.
      rows: where each image lies in pixels.npy; empty when it holds these images in this order.
      streamed: whether images are decoded when they are read, since storing them takes too much.
      stream: what reads a streamed Dataset's images; not saved (see data/stage.py).
    """

    folder: Path
    classes: tuple[str, ...]
    size: int
    names: Names
    labels: tuple[int, ...]
    splits: tuple[str, ...]
    sha256: Hashes
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    streamed: bool = False
    stream: PixelReader | None = field(default=None, compare=False, repr=False)

    def indices(self, split: Split) -> NDArray[np.int64]:
        """Positions of a split's images, int64 [n], ascending."""
        return np.flatnonzero(np.asarray(self.splits) == split).astype(np.int64)

    def pixels(self) -> PixelReader:
        """All images, [count, size, size, 3]; index with rows to get them as uint8 arrays.

        Raises:
          ModelError: the file is damaged, or streamed images have nothing that reads them.
        """
        path = self.folder / PIXELS_FILE
        if self.stream is not None:
            return self.stream
        try:
            return StoredPixels(path, np.asarray(self.rows, np.int64) if self.rows else None)
        except (OSError, ValueError) as error:
            raise ModelError(f"cannot be read: {error}", str(path), "run: make train") from error

    def label_array(self) -> NDArray[np.int64]:
        """All labels, int64 [count]."""
        return np.asarray(self.labels, dtype=np.int64)

    def save(self) -> None:
        """Write dataset.json into `folder`, and photos.tsv with a line a photo."""
        PhotoTable(
            splits=self.splits,
            classes=tuple(self.classes[label] for label in self.labels),
            rows=self.rows or range(len(self.names)),
            sha256=self.sha256,
            names=self.names,
        ).save(self.folder / PHOTOS_FILE)
        rest = _DatasetFile(self.classes, self.size, self.skipped, self.notes, self.streamed)
        save_value(rest, self.folder / "dataset.json")

    @staticmethod
    def load(folder: Path) -> Dataset:
        """Read what `save` wrote.

        Raises:
          ModelError: a file is missing or damaged.
        """
        rest = load_as(_DatasetFile, folder / "dataset.json")
        path = folder / PHOTOS_FILE
        table = PhotoTable.load(path)
        if unknown := {*table.classes} - {*rest.classes} | {*table.splits} - {*SPLITS}:
            raise ModelError(
                f"cannot be read: {min(unknown)!r} is unknown", str(path), "run: make train"
            )
        label_of = {name: label for label, name in enumerate(rest.classes)}
        in_order = all(row == place for place, row in enumerate(table.rows))
        return Dataset(
            folder=folder,
            classes=rest.classes,
            size=rest.size,
            names=table.names,
            labels=tuple(label_of[name] for name in table.classes),
            splits=table.splits,
            sha256=table.sha256,
            skipped=rest.skipped,
            notes=rest.notes,
            rows=() if in_order else tuple(table.rows),
            streamed=rest.streamed,
        )


@dataclass(frozen=True, slots=True)
class _DatasetFile:
    """What dataset.json holds of a Dataset: all but its photos."""

    classes: tuple[str, ...]
    size: int
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    streamed: bool
