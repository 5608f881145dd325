"""Checks the answers of a foreign client, and names the step that it takes differently.

    {"model": "cats.fp32.onnx",
     "answers": {"01-photo.jpg": {"cat": 0.93, "dog": 0.07}, "02-turned.jpg": {"dog": 0.61}, …}}

Probabilities by label: a client that keeps only its best classes gives only those.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toolchain.contract import Contract, read_contract_file
from toolchain.errors import InputError
from toolchain.goldens.mistakes import pixel_mistakes, wrong_normalisations
from toolchain.goldens.record import FOLDER, Finding, Goldens, read_goldens, rows_of
from toolchain.goldens.replay import Replayed, compare_labels, golden_pixels
from toolchain.images.decode import read_file
from toolchain.runtimes import IsolatedRunner
from toolchain.runtimes.base import to_input, to_probabilities
from toolchain.saved import load_as

_REMEDY: Final = 'write {"model": FILE, "answers": {IMAGE: {LABEL: PROBABILITY}}}, see docs'


_MAX_SCORE: Final = float(np.finfo(np.float32).max)
# A mistake explains answers when what is left of the difference is at most this share of it.
_EXPLAINED: Final = 0.25


@dataclass(frozen=True, slots=True)
class ClientAnswers:
    """What a client wrote.

    Attributes:
      model: the file that it ran.
      answers: golden image -> label -> probability.
    """

    model: str
    answers: dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class _Case:
    """A client's scores beside what they should be, and what it takes to run the file again.

    Attributes:
      path, contract: the model file.
      images: bytes of the images that the client answered about.
      pixels: what they decode and resize to, uint8 [n, size, size, 3].
      scores, expected: probabilities, float32 [n, classes]; scores may have nan.
    """

    path: Path
    contract: Contract
    images: list[bytes]
    pixels: NDArray[np.uint8]
    scores: NDArray[np.float32]
    expected: NDArray[np.float32]


def check_client(folder: Path, path: Path, tolerance: float | None = None) -> Replayed:
    """Compare a client's answers with the goldens of an export.

    Args:
      folder: of the export, with contract.json and goldens/.
      path: JSON of the client's answers.
      tolerance: largest difference of a probability; None takes the model's own, which is for
        clients that decode and resize as the contract says.

    Raises:
      InputError: the answers are not about these files and images.
      ModelError: the folder cannot be used.
    """
    goldens, given = read_goldens(folder), load_as(ClientAnswers, path, remedy=_REMEDY)
    entry, answers = read_contract_file(folder).get(given.model), goldens.files.get(given.model)
    names = [image.file for image in goldens.images]
    if entry is None or answers is None or set(given.answers) - set(names) or not given.answers:
        known = ", ".join([*goldens.files, *names])
        raise InputError(f"expected answers about some of {known}", str(path), _REMEDY)
    bound = answers.tolerance if tolerance is None else tolerance
    asked = [place for place, name in enumerate(names) if name in given.answers]
    scores = compare_labels(entry.contract, goldens) or _table(given, goldens, asked)
    if isinstance(scores, Finding):
        return Replayed(given.model, "client", float("nan"), bound, scores)
    expected = rows_of(answers.probabilities)[asked]
    difference, finding = _difference(scores, expected), None
    if not difference <= bound:
        pixels = golden_pixels(folder, goldens)[0][asked]
        images = [read_file(folder / FOLDER / names[place]) for place in asked]
        case = _Case(folder / given.model, entry.contract, images, pixels, scores, expected)
        # Probabilities lie at most 1 apart, however far off scores are that are none.
        close = max(bound, _EXPLAINED * min(difference, 1.0))
        said = f"a probability is {difference:.3g} off, at most {bound:g} is allowed"
        finding = _explain(case, rows_of(answers.output)[asked], close, said)
    return Replayed(given.model, "client", difference, bound, finding)


def _table(
    given: ClientAnswers, goldens: Goldens, asked: list[int]
) -> NDArray[np.float32] | Finding:
    """Scores as [images asked, classes], nan where the client gave none."""
    places = {label: place for place, label in enumerate(goldens.labels)}
    scores = np.full((len(asked), len(places)), np.nan, np.float32)
    for row, image in enumerate(asked):
        for label, score in given.answers[goldens.images[image].file].items():
            if label not in places:
                return Finding("labels", f"the model has no class {label!r:.60}")
            if not abs(score) <= _MAX_SCORE:
                return Finding("output", f"a score of {label!r:.60} is {score}")
            scores[row, places[label]] = score
    if np.isnan(scores).all(axis=1).any():
        return Finding("labels", "an image has no answer")
    return scores


def _difference(scores: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Largest difference where there is a score."""
    return float(np.nanmax(np.abs(scores - expected)))


def _explain(case: _Case, output: NDArray[np.float32], close: float, said: str) -> Finding:
    """The mistake whose answers are the nearest to the client's, if they are close."""
    found = {
        ("labels", "the right scores stand at other labels"): _at_other_labels(case),
        ("output", "it is dequantized with another scale or zero point"): _scaled(case),
        ("output", "it is given as the file stores it"): _difference(case.scores, output),
    }
    frame = case.contract.preprocessing.frame
    with IsolatedRunner.open(case.path) as runner:
        for mistake in pixel_mistakes(frame):
            wrong = np.stack([mistake.make(data, frame) for data in case.images])
            found[mistake.step, mistake.what] = _difference(case.scores, runner.run(wrong))
        if case.contract.input.dtype == "float32":
            for what, way in wrong_normalisations(case.contract.preprocessing).items():
                contract = dataclasses.replace(case.contract, preprocessing=way)
                raw = runner.run_tensor(to_input(case.pixels, contract))
                rows = to_probabilities(raw, contract, str(case.path))
                found["normalisation", what] = _difference(case.scores, rows)
    step, what = min(found, key=found.__getitem__)
    if found[step, what] <= close:
        return Finding(step, f"{said}; these are the answers when {what}")
    return Finding(
        "model", f"{said}; no known mistake explains it: compare your pixels with *.pixels.png"
    )


def _at_other_labels(case: _Case) -> float:
    """Difference when both sides' classes are put in the order of their mean score."""
    if np.isnan(case.scores).any():
        return float("inf")
    pair = (case.scores, case.expected)
    ours, golden = (rows[:, np.argsort(rows.mean(axis=0), kind="stable")] for rows in pair)
    return _difference(ours, golden)


def _scaled(case: _Case) -> float:
    """Difference left after the scale and shift that fit the client's scores best."""
    there = ~np.isnan(case.scores)
    scores, expected = case.scores[there].astype(float), case.expected[there].astype(float)
    if np.ptp(expected) == 0 or np.ptp(scores) == 0:
        return float("inf")
    scale, shift = np.polyfit(expected, scores, 1)
    if scale <= 0:
        return float("inf")
    return float(np.abs((scores - shift) / scale - expected).max())
