"""What goldens.json holds, and reading it back from a folder that somebody copied."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toolchain.contract import MAX_SIZE, MIN_CROP
from toolchain.errors import ModelError
from toolchain.saved import load_as

SCHEMA: Final = 2
FOLDER: Final = "goldens"
FILE: Final = "goldens.json"
_MAX_BYTES: Final = 256 * 1024**2
_MAX_IMAGES: Final = 64
_REMEDY: Final = "copy the whole folder of the export again, goldens/ included"
Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class GoldenImage:
    """One picture.

    Attributes:
      file: the picture as a client gets it, in goldens/.
      sha256: of that file.
      pixels: PNG of [size, size, 3] RGB in goldens/, what decoding and resizing must give.
      shows: what a client must get right with it.
    """

    file: str
    sha256: str
    pixels: str
    shows: str


@dataclass(frozen=True, slots=True)
class GoldenAnswers:
    """What one model file answers.

    Attributes:
      sha256: of the model file.
      runtime: that answered, and the processor it ran on.
      tolerance: largest difference of a probability that another runtime or processor may show.
      output: a row an image, as the file stores it: bytes of a uint8 output, else reals.
      probabilities: a row an image, float32, in the order of the labels.
    """

    sha256: str
    runtime: str
    tolerance: float
    output: Rows
    probabilities: Rows


@dataclass(frozen=True, slots=True)
class Goldens:
    """All of goldens.json.

    Attributes:
      schema: of this record.
      made_with: versions of what decoded and resized.
      size: width and height of the pixels.
      crop: share of a picture's width and height that they show.
      normalised: float input of the byte values 0 to 255; the same for all three channels.
      labels: in the order of the probabilities.
      images: the pictures.
      files: model file -> its answers.
    """

    schema: int
    made_with: dict[str, str]
    size: int
    crop: float
    normalised: tuple[float, ...]
    labels: tuple[str, ...]
    images: tuple[GoldenImage, ...]
    files: dict[str, GoldenAnswers]


@dataclass(frozen=True, slots=True)
class Finding:
    """One step that gives something else than it gave at export.

    Attributes:
      step: "file", "decode", "resize", "colour order", "normalisation", "labels" or "model".
      what: what was expected and found, one sentence.
    """

    step: str
    what: str


def read_goldens(folder: Path) -> Goldens:
    """`folder`/goldens/goldens.json, every name in it one that stays in its folder.

    Raises:
      ModelError: it is missing, or not what `write_goldens` writes.
    """
    path = folder / FOLDER / FILE
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ModelError("expected golden vectors, found none", str(path), _REMEDY) from error
    if size > _MAX_BYTES:
        raise ModelError(f"expected at most {_MAX_BYTES:,} bytes, found {size:,}", str(path))
    goldens = load_as(Goldens, path, remedy=_REMEDY)
    if problem := _problem(goldens):
        raise ModelError(f"the golden vectors cannot be used: {problem}", str(path), _REMEDY)
    return goldens


def _problem(goldens: Goldens) -> str:
    names = [name for image in goldens.images for name in (image.file, image.pixels)]
    shape = (len(goldens.images), len(goldens.labels))
    if goldens.schema != SCHEMA:
        return f"expected schema {SCHEMA}, received {goldens.schema}"
    if not 0 < len(goldens.images) <= _MAX_IMAGES or len(goldens.normalised) != 256:
        return f"expected 1 to {_MAX_IMAGES} images and 256 normalised values"
    if not 1 <= goldens.size <= MAX_SIZE or not MIN_CROP <= goldens.crop <= 1:
        return (
            f"expected a size of 1 to {MAX_SIZE} and a crop of {MIN_CROP} to 1, "
            f"received {goldens.size} and {goldens.crop:g}"
        )
    if any(Path(name).name != name for name in [*names, *goldens.files]):
        return "a name leaves the folder"
    problems = (_answers_problem(name, one, shape) for name, one in goldens.files.items())
    return next(filter(None, problems), "")


def _answers_problem(name: str, answers: GoldenAnswers, shape: tuple[int, int]) -> str:
    for rows in (rows_of(answers.probabilities), rows_of(answers.output)):
        if rows.shape != shape or not np.isfinite(rows).all():
            return f"expected {list(shape)} finite answers of {name!r:.60}"
    if not 0 <= answers.tolerance <= 1:
        return f"expected a tolerance of 0 to 1 for {name!r:.60}, received {answers.tolerance:g}"
    return ""


def rows_of(rows: Rows) -> NDArray[np.float32]:
    """Rows as float32 [images, classes]; an empty array where they differ in length.

    What is too large for float32 becomes inf.
    """
    if len({len(row) for row in rows}) != 1:
        return np.empty((0, 0), np.float32)
    with np.errstate(over="ignore"):
        return np.asarray(rows, np.float64).astype(np.float32)


def plain(array: NDArray[np.generic]) -> tuple[float, ...]:
    """Numbers of one axis for JSON, with no more digits than float32 needs to come back."""
    return tuple(float(f"{value:.9g}") for value in array.tolist())
