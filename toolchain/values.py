"""The values that flow from stage to stage: frozen, plain data, saved as JSON beside their bytes.

Dataset -> TrainedModel -> QuantizedModel -> ExportedModel -> Verification, Benchmark
`ExportedModel` lives in contract.py, beside the contract that it carries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from toolchain.columns import Choices
from toolchain.errors import ModelError
from toolchain.images.stored import PixelReader, StoredPixels
from toolchain.photos import Photos, read_photos, write_photos
from toolchain.saved import load_as, save_value

Split = Literal["train", "validation", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")
PIXELS_FILE: Final = "pixels.npy"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Decoded, resized, split images of one recipe.

    What there is of each image is packed when it was read or made by us (see columns.py).

    Attributes:
      folder: where it is saved; holds pixels.npy, uint8 [n, size, size, 3] RGB, unless streamed.
      classes: names, in the order of the labels.
      size: width and height in pixels.
      names: each image's name in its source.
      labels: each image's class, an index into `classes`.
      splits: each image's split.
      sha256: each image's hash, of its resized pixels.
      skipped: (name, reason) of images left out.
      notes: what was assumed, one sentence each.
      rows: where each image lies in pixels.npy; empty when it holds these images in this order.
      streamed: whether images are decoded when they are read, since storing them takes too much.
      stream: what reads a streamed Dataset's images; not saved (see data/stage.py).
    """

    folder: Path
    classes: tuple[str, ...]
    size: int
    names: Sequence[str]
    labels: Sequence[int]
    splits: Sequence[str]
    sha256: Sequence[str]
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    rows: Sequence[int] = ()
    streamed: bool = False
    stream: PixelReader | None = field(default=None, compare=False, repr=False)

    def indices(self, split: Split) -> NDArray[np.int64]:
        """Positions of a split's images, int64 [n], ascending."""
        splits = self.splits if isinstance(self.splits, Choices) else Choices.of(self.splits)
        return np.flatnonzero(splits.among((split,)) == 0).astype(np.int64)

    def pixels(self) -> PixelReader:
        """All images, [count, size, size, 3]; index with rows to get them as uint8 arrays.

        Raises:
          ModelError: the file is damaged, or streamed images have nothing that reads them.
        """
        path = self.folder / PIXELS_FILE
        if self.stream is not None:
            return self.stream
        try:
            rows = np.asarray(self.rows, np.int64) if len(self.rows) else None
            return StoredPixels(path, rows)
        except (OSError, ValueError) as error:
            raise ModelError(f"cannot be read: {error}", str(path), "run: make train") from error

    def label_array(self) -> NDArray[np.int64]:
        """All labels, int64 [count]."""
        return np.asarray(self.labels, dtype=np.int64)

    def save(self) -> None:
        """Write dataset.json and photos.csv into `folder`."""
        photos = Photos(self.names, self.labels, self.splits, self.sha256, self.rows)
        write_photos(photos, self.classes, self.folder)
        count = len(self.names)
        facts = _Facts(self.classes, self.size, count, self.streamed, self.notes, self.skipped)
        save_value(facts, self.folder / "dataset.json")

    @staticmethod
    def load(folder: Path) -> Dataset:
        """Read what `save` wrote."""
        facts = load_as(_Facts, folder / "dataset.json", remedy="run: make train")
        photos = read_photos(facts.classes, SPLITS, folder)
        return Dataset(
            folder=folder,
            classes=facts.classes,
            size=facts.size,
            names=photos.names,
            labels=photos.labels,
            splits=photos.splits,
            sha256=photos.sha256,
            skipped=facts.skipped,
            notes=facts.notes,
            rows=photos.rows,
            streamed=facts.streamed,
        )


@dataclass(frozen=True, slots=True)
class _Facts:
    """What dataset.json holds of a Dataset; `photos` is their number, they lie in photos.csv."""

    classes: tuple[str, ...]
    size: int
    photos: int
    streamed: bool
    notes: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One epoch as the history keeps it.

    Attributes:
      phase: "train", "fine_tune", "prune", "cluster" or "quantize".
      epoch: counted from 1 in its phase; 0 is the state before the first step.
      loss, accuracy: mean over the train split during the epoch (accuracy in 0..1).
      validation_loss, validation_accuracy: over the validation split after it.
      learning_rate: at the end of the epoch.
      seconds: duration, validation included.
    """

    phase: str
    epoch: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """Float weights and how they came to be.

    Attributes:
      folder: holds weights.safetensors (backbone and head, one tensor a variable).
      classes: names, in the order of the outputs.
      history: one record an epoch.
      best: index into `history` of the epoch whose weights these are.
      parameters: number of weights.
      notes: what was done and chosen on the way, one sentence each.
      feature_seconds: what computing features of frozen layers took, beside the epochs.
    """

    folder: Path
    classes: tuple[str, ...]
    history: tuple[EpochRecord, ...]
    best: int
    parameters: int
    notes: tuple[str, ...] = ()
    feature_seconds: float = 0.0

    def save(self) -> None:
        """Write trained.json into `folder`."""
        save_value(self, self.folder / "trained.json")

    @staticmethod
    def load(folder: Path) -> TrainedModel:
        """Read what `save` wrote."""
        return load_as(TrainedModel, folder / "trained.json", folder=folder)


@dataclass(frozen=True, slots=True)
class Integers:
    """What the int8 files of one precision are made of, beside weights and ranges.

    Attributes:
      float_layers: the layers that stay float in them, in the order of the network.
      validation_accuracy: of the network that rounds as they do, 0..1.
    """

    float_layers: tuple[str, ...]
    validation_accuracy: float


@dataclass(frozen=True, slots=True)
class QuantizedModel:
    """Weights on the integer grid and one activation range a tensor.

    Attributes:
      folder: holds kernels with BatchNormalization folded in, and biases: calibrated.safetensors
        before any training (int8-ptq), weights.safetensors after it (int8-qat, where asked for).
      classes: names, in the order of the outputs.
      ranges: layer name -> (scale, zero point) of its output: real = scale * (stored - zero
        point), stored in 0..255.
      history: record 0 is the calibrated start, then one an epoch.
      best: index into `history` of the epoch whose weights these are.
      integers: "int8-ptq", and "int8-qat" where it was asked for -> what is theirs.
      notes: what was done and chosen on the way, one sentence each.
    """

    folder: Path
    classes: tuple[str, ...]
    ranges: dict[str, tuple[float, int]]
    history: tuple[EpochRecord, ...]
    best: int
    integers: dict[str, Integers]
    notes: tuple[str, ...] = ()

    def save(self) -> None:
        """Write quantized.json into `folder`."""
        save_value(self, self.folder / "quantized.json")

    @staticmethod
    def load(folder: Path) -> QuantizedModel:
        """Read what `save` wrote."""
        return load_as(QuantizedModel, folder / "quantized.json", folder=folder)


@dataclass(frozen=True, slots=True)
class Interval:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Flip:
    """A test photo that a file gives another class than the float file does.

    Attributes:
      index: its position in the Dataset, as in `evidence.Answers.rows`.
      name: in its source.
      label: its class.
      before, after: what the float file and this one call it.
    """

    index: int
    name: str
    label: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Paired:
    """The accuracy of a file against that of the float file on the same photos.

    Attributes:
      baseline: the float file's name; "Keras" for the model itself, where there is no such file.
      gained, lost: photos that this file alone gets right, and that the float file alone does.
      difference: (gained - lost) / photos, with Newcombe's interval.
      p_value: McNemar's exact test: how often chance alone splits so many photos as unevenly.
    """

    baseline: str
    gained: int
    lost: int
    difference: Interval
    p_value: float


@dataclass(frozen=True, slots=True)
class FileVerification:
    """One exported file against the model it came from, on the test split.

    Attributes:
      file: its name.
      format, precision: as in its contract.
      runtime: "litert" or "onnxruntime".
      images: how many were compared.
      agreement: share with the same top-1 as the network it came from.
      max_difference: largest absolute difference of a probability from that model's.
      accuracy: top-1 on the test split, 0..1 with its Wilson interval.
      reference_accuracy: of the network it came from, same images (0..1).
      confusion: confusion[true][predicted], counts.
      failures: the gates it missed, one sentence each; empty when it passed.
      top5: share whose class is among the five most probable; None with five classes or fewer.
      mean_difference: mean over the photos of the largest difference of a probability.
      paired: against the float file; that one itself is held against the Keras model.
      flips: the photos that the two call differently.
    """

    file: str
    format: str
    precision: str
    runtime: str
    images: int
    agreement: float
    max_difference: float
    accuracy: Interval
    reference_accuracy: float
    confusion: tuple[tuple[int, ...], ...]
    failures: tuple[str, ...]
    top5: Interval | None = None
    mean_difference: float = 0.0
    paired: Paired | None = None
    flips: tuple[Flip, ...] = ()

    @property
    def f1(self) -> float:
        """Mean over the classes of 2·hits / (photos of it + answers of it), 0..1.

        As scikit-learn's macro average, of the classes that have a photo or were answered once.
        """
        counts = np.asarray(self.confusion, np.float64)
        either = counts.sum(axis=0) + counts.sum(axis=1)
        there = either > 0
        return float((2 * counts.diagonal()[there] / either[there]).mean()) if there.any() else 0.0


@dataclass(frozen=True, slots=True)
class Verification:
    """All files of a run; `passed` is the mark that no gate was missed."""

    classes: tuple[str, ...]
    files: tuple[FileVerification, ...]
    passed: bool


def load_verification(path: Path) -> Verification:
    """Read a saved `Verification`."""
    return load_as(Verification, path)
