"""Which single photos a report shows: the surest mistakes, and what int8 answers otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from toolchain.evidence import Answers, Heatmaps
from toolchain.values import Dataset

SHOWN: Final = 12
LISTED: Final = 1000


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo and what was said of it.

    Attributes:
      row: its position in the Dataset.
      name: in its source.
      true, called: names of classes.
      confidence: probability of `called`, 0..1.
    """

    row: int
    name: str
    true: str
    called: str
    confidence: float


@dataclass(frozen=True, slots=True)
class FlippedPhoto:
    """A photo that a quantized file calls otherwise than the float file.

    Attributes:
      photo: as the float file called it.
      after, after_confidence: what the quantized file said.
    """

    photo: Photo
    after: str
    after_confidence: float

    @property
    def effect(self) -> str:
        """ "lost" when the float file was right, "gained" when the other is, else "as wrong"."""
        if self.photo.called == self.photo.true:
            return "lost"
        return "gained" if self.after == self.photo.true else "as wrong"


@dataclass(frozen=True, slots=True)
class Flips:
    """All of them between two files; `photos` counts what was compared."""

    base: str
    other: str
    photos: int
    flips: tuple[FlippedPhoto, ...]

    def count(self, effect: str) -> int:
        """How many have this effect."""
        return sum(flip.effect == effect for flip in self.flips)


@dataclass(frozen=True, slots=True)
class Gallery:
    """The single photos of a run.

    Attributes:
      file: whose mistakes these are.
      worst: what it called wrong, the surest first, at most `LISTED`.
      flips: against the float file; None when there is no such pair.
      looked: photos with a heat map of the float network, and `layer`, whose output was weighed.
    """

    file: str
    worst: tuple[Photo, ...]
    flips: Flips | None
    looked: tuple[Photo, ...] = ()
    layer: str = ""

    def rows(self) -> list[int]:
        """Positions in the Dataset of the photos that a page shows, each once, ascending."""
        flipped = [flip.photo for flip in self.flips.flips] if self.flips else []
        shown = [*self.worst[:SHOWN], *flipped[:SHOWN], *self.looked]
        return sorted({photo.row for photo in shown})


def worst_mistakes(answers: Answers, file: str, dataset: Dataset) -> tuple[Photo, ...]:
    """The photos that a file called wrong, the surest first, at most `LISTED`."""
    one = answers.files[file]
    wrong = np.flatnonzero(one.called != answers.labels)
    order = wrong[np.argsort(-one.confidence[wrong], kind="stable")][:LISTED]
    return tuple(_photo(answers, file, int(at), dataset) for at in order)


def flips(answers: Answers, base: str, other: str, dataset: Dataset) -> Flips:
    """Photos that two files call differently: lost ones first, then the surest of `base`."""
    before, after = answers.files[base], answers.files[other]
    places = np.flatnonzero(before.called != after.called)
    found = [
        FlippedPhoto(
            _photo(answers, base, int(at), dataset),
            dataset.classes[after.called[at]],
            float(after.confidence[at]),
        )
        for at in places
    ]
    order = {"lost": 0, "gained": 1, "as wrong": 2}
    found.sort(key=lambda flip: (order[flip.effect], -flip.photo.confidence))
    return Flips(base, other, len(answers.labels), tuple(found[:LISTED]))


def looked_at(heatmaps: Heatmaps, dataset: Dataset) -> tuple[Photo, ...]:
    """The photos that have a heat map, in its order."""
    return tuple(
        Photo(
            row=int(row),
            name=dataset.names[row],
            true=dataset.classes[label],
            called=dataset.classes[called],
            confidence=float(confidence),
        )
        for row, label, called, confidence in zip(
            heatmaps.rows, heatmaps.labels, heatmaps.called, heatmaps.confidence, strict=True
        )
    )


def _photo(answers: Answers, file: str, at: int, dataset: Dataset) -> Photo:
    one, row = answers.files[file], int(answers.rows[at])
    return Photo(
        row=row,
        name=dataset.names[row],
        true=dataset.classes[answers.labels[at]],
        called=dataset.classes[one.called[at]],
        confidence=float(one.confidence[at]),
    )
