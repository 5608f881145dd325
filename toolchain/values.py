"""The values that flow from stage to stage: frozen, plain data, saved as JSON beside their bytes.

Dataset -> TrainedModel -> QuantizedModel -> ExportedModel -> Verification, Benchmark
`ExportedModel` lives in contract.py, beside the contract that it carries.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import ModelError
from toolchain.images.stored import PixelReader, StoredPixels
from toolchain.saved import load_as, load_value, save_value

Split = Literal["train", "validation", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")
PIXELS_FILE: Final = "pixels.npy"
BENCHMARK_SCHEMA: Final = 2


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
        return load_as(TrainedModel, folder / "trained.json", folder=folder)


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
      agreement: share with the same top-1 as the Keras model it came from.
      max_difference: largest absolute difference of a probability from that model's.
      accuracy: top-1 on the test split, 0..1 with its Wilson interval.
      reference_accuracy: of the Keras model it came from, same images (0..1).
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
        """Mean over the classes of 2·hits / (photos of it + answers of it), 0..1; see scikit-learn.

        A class that has no photo and was never answered counts 0, as there.
        """
        counts = np.asarray(self.confusion, np.float64)
        either = counts.sum(axis=0) + counts.sum(axis=1)
        shares = np.divide(2 * counts.diagonal(), either, np.zeros(len(either)), where=either > 0)
        return float(shares.mean())


@dataclass(frozen=True, slots=True)
class Verification:
    """All files of a run; `passed` is the mark that no gate was missed."""

    classes: tuple[str, ...]
    files: tuple[FileVerification, ...]
    passed: bool


@dataclass(frozen=True, slots=True)
class Latency:
    """How long one inference of a whole batch takes, milliseconds, with 95 % intervals.

    Attributes:
      runs: timed inferences; rounds: turns that they were spread over.
      p50_ms: the median.
      p90_ms, p99_ms: the tail; None where a phone's log does not tell them.
      throughput: images a second, from the mean.
    """

    runs: int
    rounds: int
    p50_ms: Interval
    p90_ms: Interval | None
    p99_ms: Interval | None
    throughput: Interval


@dataclass(frozen=True, slots=True)
class Measurement:
    """One model file run in one way: a row.

    Attributes:
      file, sha256, format, precision: which; a text is empty where it is not known.
      runtime: "litert", "onnxruntime" or "keras"; provider: what it was asked to run on.
      threads, batch: how; batch 1 is MLPerf's single stream, a larger one its offline scenario.
      bytes, zipped_bytes: size of the file as it is, and deflated as in an app's package.
      latency: None when there are no numbers; `failure` then says why.
      load_ms, first_ms: opening the file; the first inference.
      peak_mib: peak memory of the child process that ran it, MiB.
      energy_mj: millijoules an image, of the whole processor or GPU; None without a counter.
      nodes: what really ran it -> number of the graph's nodes there; empty where nobody tells.
      top1, top5: on the test split as verify measured them; f1: the macro average (0..1).
      failure: why there are no numbers; empty when there are.
    """

    file: str
    sha256: str
    format: str
    precision: str
    runtime: str
    provider: str
    threads: int
    batch: int
    bytes: int
    zipped_bytes: int
    latency: Latency | None = None
    load_ms: float | None = None
    first_ms: float | None = None
    peak_mib: float | None = None
    energy_mj: Interval | None = None
    nodes: dict[str, int] = field(default_factory=dict)
    top1: Interval | None = None
    top5: Interval | None = None
    f1: float | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two rows that took turns in the same rounds.

    Attributes:
      row, other: indices into the measurements.
      ratio: p50 of `row` / p50 of `other`; below 1 means that `row` is faster.
      verdict: "faster" or "slower", or "inconclusive" when the interval of the ratio spans 1.
    """

    row: int
    other: int
    ratio: Interval
    verdict: str


@dataclass(frozen=True, slots=True)
class Noise:
    """What else went on while the rows were timed.

    Attributes:
      verdict: "quiet" or "noisy"; reasons: why it is noisy, one sentence each.
      drift: how much slower a fixed piece of work became from the first rounds to the last, 0.1
        is 10 %; spread: how far apart its middle half lies, as a share of its median.
      steal: share of processor time that the hypervisor gave to others, 0..1.
      others: processors that other programs kept busy, on average.
      load: load average of one minute before and after.
    """

    verdict: str
    reasons: tuple[str, ...]
    drift: float
    spread: float
    steal: float
    others: float
    load: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Preparation:
    """From a photo's bytes to the pixels of the input, apart from inference.

    Attributes:
      photos: what was decoded, in words; size: width and height after the resize, pixels.
      decode_ms, resize_ms: median over the photos, milliseconds a photo, one thread.
    """

    photos: str
    size: int
    decode_ms: Interval
    resize_ms: Interval


@dataclass(frozen=True, slots=True)
class Benchmark:
    """All rows of one session on one machine.

    Attributes:
      machine: processor, cores, flags, memory, operating system and versions, as text.
      date: UTC, ISO 8601; empty when a phone's log does not tell it.
      command: what re-makes it.
      measurements: the rows.
      comparisons: every pair of rows that took turns with each other.
      noise: None for a log of another machine.
      preparation: one entry an input size.
      energy: what the energy was read from; empty without a counter.
      data_sha256: of the dataset whose test split gave top-1; empty without a run.
      schema: of this JSON; another number is refused.
    """

    machine: dict[str, str]
    date: str
    command: str
    measurements: tuple[Measurement, ...]
    comparisons: tuple[Comparison, ...] = ()
    noise: Noise | None = None
    preparation: tuple[Preparation, ...] = ()
    energy: str = ""
    data_sha256: str = ""
    schema: int = BENCHMARK_SCHEMA


def load_verification(path: Path) -> Verification:
    """Read a saved `Verification`."""
    return load_as(Verification, path)


def load_benchmark(path: Path) -> Benchmark:
    """Read a saved `Benchmark`, of this toolchain's or of somebody else's making.

    Raises:
      ModelError: it is not one, or of another schema.
    """
    made = load_as(Benchmark, path, remedy="give the JSON of toolchain benchmark")
    if made.schema != BENCHMARK_SCHEMA:
        raise ModelError(
            f"expected results of schema {BENCHMARK_SCHEMA}, received {made.schema}",
            str(path),
            "measure again with this version of the toolchain",
        )
    return made
