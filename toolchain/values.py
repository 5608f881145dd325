"""The values that flow from stage to stage: frozen, plain data, saved as JSON beside their bytes.

Dataset -> TrainedModel -> QuantizedModel -> ExportedModel -> Verification, Benchmark
`ExportedModel` lives in contract.py, beside the contract that it carries.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import ModelError
from toolchain.images.stored import PixelReader, StoredPixels
from toolchain.run import write_text

Split = Literal["train", "validation", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")
PIXELS_FILE: Final = "pixels.npy"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Decoded, resized, split images of one recipe.

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
    names: tuple[str, ...]
    labels: tuple[int, ...]
    splits: tuple[str, ...]
    sha256: tuple[str, ...]
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
        """Write dataset.json into `folder`."""
        save_value(dataclasses.replace(self, stream=None), self.folder / "dataset.json")

    @staticmethod
    def load(folder: Path) -> Dataset:
        """Read what `save` wrote."""
        data = load_value(folder / "dataset.json")
        data.pop("stream")
        tuples = ("classes", "names", "labels", "splits", "sha256", "notes", "rows")
        fixed: dict[str, Any] = {key: tuple(data.pop(key)) for key in tuples}
        skipped = tuple((name, reason) for name, reason in data.pop("skipped"))
        return Dataset(folder=folder, skipped=skipped, **fixed, **data)


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One epoch as the history keeps it.

    Attributes:
      phase: "train", "fine_tune" or "quantize".
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
    """

    folder: Path
    classes: tuple[str, ...]
    history: tuple[EpochRecord, ...]
    best: int
    parameters: int
    notes: tuple[str, ...] = ()

    def save(self) -> None:
        """Write trained.json into `folder`."""
        save_value(self, self.folder / "trained.json")

    @staticmethod
    def load(folder: Path) -> TrainedModel:
        """Read what `save` wrote."""
        return TrainedModel(folder=folder, **_with_history(load_value(folder / "trained.json")))


@dataclass(frozen=True, slots=True)
class QuantizedModel:
    """Weights after quantization-aware training and one activation range a tensor.

    Attributes:
      folder: holds weights.safetensors: kernels with BatchNormalization folded in, and biases.
      classes: names, in the order of the outputs.
      ranges: layer name -> (scale, zero point) of its output: real = scale * (stored - zero
        point), stored in 0..255.
      history: record 0 is the calibrated start, then one an epoch.
      best: index into `history` of the epoch whose weights these are.
      notes: what was done and chosen on the way, one sentence each.
    """

    folder: Path
    classes: tuple[str, ...]
    ranges: dict[str, tuple[float, int]]
    history: tuple[EpochRecord, ...]
    best: int
    notes: tuple[str, ...] = ()

    def save(self) -> None:
        """Write quantized.json into `folder`."""
        save_value(self, self.folder / "quantized.json")

    @staticmethod
    def load(folder: Path) -> QuantizedModel:
        """Read what `save` wrote."""
        data = _with_history(load_value(folder / "quantized.json"))
        data["ranges"] = {name: (scale, zero) for name, (scale, zero) in data["ranges"].items()}
        return QuantizedModel(folder=folder, **data)


def _with_history(data: dict[str, Any]) -> dict[str, Any]:
    data["history"] = tuple(EpochRecord(**record) for record in data["history"])
    data["classes"] = tuple(data["classes"])
    data["notes"] = tuple(data["notes"])
    return data


@dataclass(frozen=True, slots=True)
class Interval:
    """A share with its 95 % Wilson interval, all in 0..1."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class FileVerification:
    """One exported file against the model it came from, on the test split.

    Attributes:
      file: its name.
      format, precision: as in its contract.
      runtime: "litert" or "onnxruntime".
      images: how many were compared.
      agreement: share with the same top-1 as the Keras model it came from.
      max_difference: largest absolute difference of a probability.
      accuracy: top-1 on the test split.
      reference_accuracy: of the Keras model it came from, same images (0..1).
      confusion: confusion[true][predicted], counts.
      failures: the gates it missed, one sentence each; empty when it passed.
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


@dataclass(frozen=True, slots=True)
class Verification:
    """All files of a run; `passed` is the mark that no gate was missed."""

    classes: tuple[str, ...]
    files: tuple[FileVerification, ...]
    passed: bool


@dataclass(frozen=True, slots=True)
class Measurement:
    """One exported file timed on one runtime.

    Attributes:
      file, format, precision: which.
      runtime: "litert" or "onnxruntime"; provider: what really ran it, such as "cpu" or "cuda".
      threads, batch: how.
      runs: timed inferences.
      load_ms, first_ms: opening the file; the first inference.
      p50_ms, p90_ms, p99_ms: latency of one inference, milliseconds.
      throughput: images a second, from the mean latency.
      peak_mib: peak memory of the child process that ran it, MiB.
      bytes: size of the file.
      accuracy: top-1 on the test split as verify measured it (0..1), None when it was not run.
      failure: why there are no numbers; empty when there are.
    """

    file: str
    format: str
    precision: str
    runtime: str
    provider: str
    threads: int
    batch: int
    runs: int
    load_ms: float
    first_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    throughput: float
    peak_mib: float
    bytes: int
    accuracy: float | None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """All measurements of a run and the machine they were made on.

    Attributes:
      machine: processor, cores, flags, memory, operating system and versions, as text.
      date: UTC, ISO 8601.
      command: what re-makes it.
    """

    machine: dict[str, str]
    date: str
    command: str
    measurements: tuple[Measurement, ...]


def save_value(value: Any, path: Path) -> None:
    """A value as JSON; its `folder`, if it has one, is where it lies and is not written."""
    data = dataclasses.asdict(value)
    data.pop("folder", None)
    # ASCII with escapes: names of files can hold bytes that are no UTF-8.
    write_text(path, json.dumps(data, indent=1) + "\n")


def load_value(path: Path) -> Any:
    """The JSON that `save_value` wrote.

    Raises:
      ModelError: it is missing or not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot be read: {error}", str(path), "run the stage again") from error


def load_verification(path: Path) -> Verification:
    """Read a saved `Verification`."""
    data = load_value(path)
    files = tuple(
        FileVerification(
            **{
                **item,
                "accuracy": Interval(**item["accuracy"]),
                "confusion": tuple(tuple(row) for row in item["confusion"]),
                "failures": tuple(item["failures"]),
            }
        )
        for item in data["files"]
    )
    return Verification(classes=tuple(data["classes"]), files=files, passed=data["passed"])


def load_benchmark(path: Path) -> Benchmark:
    """Read a saved `Benchmark`."""
    data = load_value(path)
    rows = tuple(Measurement(**row) for row in data.pop("measurements"))
    return Benchmark(measurements=rows, **data)
