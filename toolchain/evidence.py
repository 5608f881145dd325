"""What stages keep for the report: who said what of each photo, where the network looked,
which layers rounding hurts, and what a client's own resize changes.

Of photos, plain arrays in safetensors files beside verification.json, by the photos' positions in
the Dataset; of layers, JSON beside quantized.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import ModelError
from toolchain.files import write_bytes
from toolchain.saved import load_as, save_value

Kept = TypeVar("Kept")
ANSWERS_FILE: Final = "answers.safetensors"
HEATMAPS_FILE: Final = "heatmaps.safetensors"
SENSITIVITY_FILE: Final = "sensitivity.json"
CLIENT_RESIZE_FILE: Final = "client_resize.json"
_LAYER: Final = "layer"


@dataclass(frozen=True, slots=True, eq=False)
class FileAnswers:
    """What one exported file said to every test photo; all arrays have n entries.

    Attributes:
      called: int64, the most probable class.
      confidence: float32, the probability of that class.
      truth: float32, the probability of the photo's own class.
    """

    called: NDArray[np.int64]
    confidence: NDArray[np.float32]
    truth: NDArray[np.float32]

    @staticmethod
    def of(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> FileAnswers:
        """From probabilities [n, classes] and the true classes [n]."""
        called = probabilities.argmax(axis=1).astype(np.int64)
        every = np.arange(len(labels))
        return FileAnswers(called, probabilities[every, called], probabilities[every, labels])


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The answers of every exported file on the same n photos.

    Attributes:
      rows: int64 [n], the photos' positions in the Dataset.
      labels: int64 [n], their classes.
      files: name of the file -> its answers.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    files: Mapping[str, FileAnswers]

    def save(self, folder: Path) -> None:
        """Write answers.safetensors into `folder`."""
        arrays: dict[str, NDArray[Any]] = {"rows": self.rows, "labels": self.labels}
        for name, one in self.files.items():
            arrays |= {
                f"{name}/called": one.called,
                f"{name}/confidence": one.confidence,
                f"{name}/truth": one.truth,
            }
        _save(arrays, folder / ANSWERS_FILE)

    @staticmethod
    def load(folder: Path) -> Answers | None:
        """Read what `save` wrote; None where there is none.

        Raises:
          ModelError: the file is damaged.
        """
        arrays = _load(folder / ANSWERS_FILE, {"rows", "labels"})
        if arrays is None:
            return None
        names = [key.removesuffix("/called") for key in arrays if key.endswith("/called")]
        parts = ("called", "confidence", "truth")
        return Answers(
            rows=arrays["rows"],
            labels=arrays["labels"],
            files={name: FileAnswers(*(arrays[f"{name}/{p}"] for p in parts)) for name in names},
        )


@dataclass(frozen=True, slots=True, eq=False)
class Heatmaps:
    """Where the float network looked, for a few photos.

    Attributes:
      layer: whose output was weighed.
      rows: int64 [k], the photos' positions in the Dataset.
      labels: int64 [k], their classes.
      called: int64 [k], the class that the network gave and that the map explains.
      confidence: float32 [k], its probability.
      maps: float32 [k, h, w] in 0..1, 1 where the evidence for `called` was strongest.
    """

    layer: str
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    called: NDArray[np.int64]
    confidence: NDArray[np.float32]
    maps: NDArray[np.float32]

    def save(self, folder: Path) -> None:
        """Write heatmaps.safetensors into `folder`."""
        name = np.frombuffer(self.layer.encode(), np.uint8)
        arrays: dict[str, NDArray[Any]] = {
            _LAYER: name,
            "rows": self.rows,
            "labels": self.labels,
            "called": self.called,
            "confidence": self.confidence,
            "maps": self.maps,
        }
        _save(arrays, folder / HEATMAPS_FILE)

    @staticmethod
    def load(folder: Path) -> Heatmaps | None:
        """Read what `save` wrote; None where there is none.

        Raises:
          ModelError: the file is damaged.
        """
        keys = ("rows", "labels", "called", "confidence", "maps")
        arrays = _load(folder / HEATMAPS_FILE, {_LAYER, *keys})
        if arrays is None:
            return None
        layer = arrays[_LAYER].tobytes().decode(errors="replace")
        return Heatmaps(layer, *(arrays[key] for key in keys))


@dataclass(frozen=True, slots=True)
class LayerError:
    """What rounding to 8 bits does to the output of one layer.

    Attributes:
      layer, op: its name, and what it is.
      sqnr_db: signal to quantization noise, 10 log10(mean x^2 / mean (x - rounded x)^2), decibels.
      kernel_db: the same if its kernel alone is rounded, and its output is not.
    """

    layer: str
    op: str
    sqnr_db: float
    kernel_db: float


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Every layer's error, in the order of the network."""

    layers: tuple[LayerError, ...]

    def worst(self) -> tuple[LayerError, ...]:
        """The layers, those with the most noise first."""
        return tuple(sorted(self.layers, key=lambda one: one.sqnr_db))

    def save(self, folder: Path) -> None:
        """Write sensitivity.json into `folder`."""
        save_value(self, folder / SENSITIVITY_FILE)

    @staticmethod
    def load(folder: Path) -> Sensitivity | None:
        """Read what `save` wrote; None where there is none.

        Raises:
          ModelError: the file is damaged.
        """
        return _load_json(Sensitivity, folder / SENSITIVITY_FILE)


@dataclass(frozen=True, slots=True)
class ResizeEffect:
    """What another resize does to the answers of one file.

    Attributes:
      agreement: share of the photos that get the same class, 0..1.
      accuracy, accuracy_before: with the other resize, with ours.
      mean_difference: of a probability.
    """

    agreement: float
    accuracy: float
    accuracy_before: float
    mean_difference: float


@dataclass(frozen=True, slots=True)
class ClientResize:
    """What MediaPipe's resize does to the .tflite files, see `images.corners`.

    Attributes:
      photos: of the test split, how many were resized anew.
      byte_difference: mean difference of an input byte, 0..255.
      files: name of the file -> effect.
    """

    photos: int
    byte_difference: float
    files: dict[str, ResizeEffect]

    def save(self, folder: Path) -> None:
        """Write client_resize.json into `folder`."""
        save_value(self, folder / CLIENT_RESIZE_FILE)

    @staticmethod
    def load(folder: Path) -> ClientResize | None:
        """Read what `save` wrote; None where there is none.

        Raises:
          ModelError: the file is damaged.
        """
        return _load_json(ClientResize, folder / CLIENT_RESIZE_FILE)


def _load_json(kind: type[Kept], path: Path) -> Kept | None:
    return load_as(kind, path) if path.is_file() else None


def _save(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    from safetensors.numpy import save

    write_bytes(path, save({key: np.ascontiguousarray(one) for key, one in arrays.items()}))


def _load(path: Path, expected: set[str]) -> dict[str, NDArray[Any]] | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not path.is_file():
        return None
    try:
        arrays: dict[str, NDArray[Any]] = load(path.read_bytes())
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"cannot be read: {error}", str(path), "run: make verify") from error
    if missing := sorted(expected - set(arrays)):
        raise ModelError(
            f"expected {', '.join(missing)}, found none", str(path), "run: make verify"
        )
    return arrays
