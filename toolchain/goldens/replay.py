"""Replays the goldens of a folder: every step from bytes to probabilities, on this machine.

Steps are compared in the order in which a client takes them, so the first that differs is the one
that went wrong. The files are foreign: they are run in a child process.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from toolchain.contract import LABELS_FILE, Contract, ContractEntry, read_contract_file
from toolchain.errors import ImageError, ModelError
from toolchain.files import sha256_file
from toolchain.goldens.mistakes import explain_pixels
from toolchain.goldens.record import (
    FOLDER,
    Finding,
    GoldenAnswers,
    Goldens,
    read_goldens,
    rows_of,
)
from toolchain.images.decode import DAMAGE, read_file
from toolchain.images.preprocess import Frame, Preprocessing, normalise, pixels_of
from toolchain.runtimes import IsolatedRunner, find_contract

_REMEDY: Final = "copy the whole folder of the export again"


@dataclass(frozen=True, slots=True)
class Replayed:
    """One model file after its replay.

    Attributes:
      file: its name.
      runtime: "litert" or "onnxruntime"; empty when it was not run.
      difference: largest difference of a probability from the goldens', nan when it was not run.
      tolerance: how large it may be.
      finding: the first step that differs; None when none does.
    """

    file: str
    runtime: str
    difference: float
    tolerance: float
    finding: Finding | None


def replay(folder: Path) -> tuple[Replayed, ...]:
    """Compare every file that `folder`/contract.json names with the goldens beside it.

    Raises:
      ModelError: contract.json or goldens/ is missing or unreadable.
    """
    entries, goldens = read_contract_file(folder), read_goldens(folder)
    pixels, finding = golden_pixels(folder, goldens)
    finding = finding or _labels_file(folder, goldens)
    return tuple(
        _replay_file(folder / name, entry, goldens, pixels, finding)
        for name, entry in entries.items()
    )


def golden_pixels(folder: Path, goldens: Goldens) -> tuple[NDArray[np.uint8], Finding | None]:
    """The pixels that clients must get, uint8 [n, size, size, 3], and what this machine does else.

    Raises:
      ModelError: an image is missing, changed, or of another size.
    """
    inside, frame = folder / FOLDER, Frame(goldens.size, goldens.crop)
    images = [_read(inside / image.file) for image in goldens.images]
    for image, data in zip(goldens.images, images, strict=True):
        if hashlib.sha256(data).hexdigest() != image.sha256:
            raise ModelError("a golden image was changed", str(inside / image.file), _REMEDY)
    expected = np.stack(
        [_read_pixels(inside / image.pixels, frame.size) for image in goldens.images]
    )
    found = np.stack([pixels_of(data, "a golden image", frame) for data in images])
    return expected, _compare_pixels(goldens, images, frame, expected, found)


def _read(path: Path) -> bytes:
    try:
        return read_file(path)
    except ImageError as error:
        raise ModelError(error.what, str(path), _REMEDY) from error


def _read_pixels(path: Path, size: int) -> NDArray[np.uint8]:
    """The PNG's own bytes, uint8 [size, size, 3]: not through the decoder that is put to the test.

    Raises:
      ModelError: it is another image.
    """
    try:
        image = Image.open(io.BytesIO(_read(path)), formats=("PNG",))
        if image.size == (size, size) and image.mode == "RGB":
            return np.asarray(image, np.uint8)
    except DAMAGE as error:
        raise ModelError(f"the golden pixels are damaged: {error}", str(path), _REMEDY) from error
    raise ModelError(
        f"expected golden pixels RGB {size} x {size}, found {image.mode} {image.size}",
        str(path),
        _REMEDY,
    )


def _compare_pixels(
    goldens: Goldens,
    images: list[bytes],
    frame: Frame,
    expected: NDArray[np.uint8],
    found: NDArray[np.uint8],
) -> Finding | None:
    off = np.abs(expected.astype(np.int16) - found).max(axis=(1, 2, 3))
    if not off.any():
        return None
    worst = int(off.argmax())
    image, mistake = goldens.images[worst], explain_pixels(images, found, frame)
    what = f"{image.file} ({image.shows}) gives pixels up to {off[worst]} away from the golden ones"
    if mistake is not None:
        return Finding(mistake.step, f"{what}: {mistake.what}")
    is_decoded = any(off[i] for i, data in enumerate(images) if _is_exact(data, frame))
    return Finding("decode" if is_decoded else "resize", what)


def _is_exact(data: bytes, frame: Frame) -> bool:
    """Whether an image is not resized."""
    return frame.fits(*Image.open(io.BytesIO(data)).size)


def _labels_file(folder: Path, goldens: Goldens) -> Finding | None:
    path = folder / LABELS_FILE
    if not path.is_file():
        return None
    # Saved in another encoding it holds bytes that are no UTF-8, which are no label.
    found = path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")[:-1]
    if found == list(goldens.labels):
        return None
    return Finding("labels", f"{LABELS_FILE} has other labels, or another order, than at export")


def _replay_file(
    path: Path,
    entry: ContractEntry,
    goldens: Goldens,
    pixels: NDArray[np.uint8],
    finding: Finding | None,
) -> Replayed:
    answers = goldens.files.get(path.name)
    if answers is None:
        finding = finding or Finding("file", "the golden vectors do not know it")
        return Replayed(path.name, "", float("nan"), 0.0, finding)
    try:
        finding = (
            finding
            or _file(path, entry, answers)
            or compare_labels(entry.contract, goldens)
            or _normalisation(entry.contract.preprocessing, goldens)
        )
        if finding is None:
            return _run(path, goldens, answers, pixels)
    except ModelError as error:
        finding = Finding("model", error.what)
    return Replayed(path.name, "", float("nan"), answers.tolerance, finding)


def _file(path: Path, entry: ContractEntry, answers: GoldenAnswers) -> Finding | None:
    """Whether it is the exported file, with one contract inside and beside it."""
    found = sha256_file(path) if path.is_file() else ""
    if not found:
        return Finding("file", "it is missing")
    if found not in (entry.sha256, answers.sha256) or entry.sha256 != answers.sha256:
        return Finding("file", "its sha256 is not that of the export: it was changed or exchanged")
    carried = find_contract(path)
    if carried is not None and carried != entry.contract:
        fields = [field.name for field in dataclasses.fields(Contract)]
        name = next(f for f in fields if getattr(carried, f) != getattr(entry.contract, f))
        step = {"labels": "labels", "preprocessing": "normalisation"}.get(name, "model")
        return Finding(step, f"contract.json has another {name} than the contract in the file")
    return None


def compare_labels(contract: Contract, goldens: Goldens) -> Finding | None:
    """The first class that differs between a file's contract and the goldens."""
    pairs = itertools.zip_longest(contract.labels, goldens.labels, fillvalue="(none)")
    for place, (ours, golden) in enumerate(pairs):
        if ours != golden:
            return Finding("labels", f"class {place} is {ours!r:.60}, expected {golden!r:.60}")
    return None


def _normalisation(way: Preprocessing, goldens: Goldens) -> Finding | None:
    if way.frame != (frame := Frame(goldens.size, goldens.crop)):
        return Finding("resize", f"expected {frame}, the contract has {way.frame}")
    found = normalise(np.arange(256, dtype=np.uint8), way)
    if np.array_equal(found, np.asarray(goldens.normalised, np.float32)):
        return None
    ends, wanted = (found[0], found[-1]), (goldens.normalised[0], goldens.normalised[-1])
    return Finding(
        "normalisation",
        f"pixels become {ends[0]:g} to {ends[1]:g}, expected {wanted[0]:g} to {wanted[1]:g}",
    )


def _run(
    path: Path, goldens: Goldens, answers: GoldenAnswers, pixels: NDArray[np.uint8]
) -> Replayed:
    expected = rows_of(answers.probabilities)
    with IsolatedRunner.open(path) as runner:
        found, runtime = runner.run(pixels), runner.runtime
    off = np.abs(found - expected)
    difference, finding = float(off.max()), None
    if difference > answers.tolerance:
        image = goldens.images[int(off.max(axis=1).argmax())]
        finding = Finding(
            "model",
            f"a probability of {image.file} is {difference:.3g} away from that on "
            f"{answers.runtime:.60}, at most {answers.tolerance:g} is allowed",
        )
    return Replayed(path.name, runtime, difference, answers.tolerance, finding)
