"""Features: what the frozen layers make of photos, computed once, written to the run, trained on.

    .train.unfinished-<key>/<layer>-<split>.npy    float32 [rows, ...], one a photo and view
    .train.unfinished-<key>/<layer>-<split>.json   how many of the rows are there, what they took

They are written batch by batch and read batch by batch, so that memory does not grow with the
photos. They go when the stage is published: no other stage reads them, and training again means
that something they may depend on has changed.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tf_keras
from numpy.typing import NDArray

from toolchain.errors import RecipeError
from toolchain.files import check_room, writing
from toolchain.images.stored import StoredRows, write_rows_header
from toolchain.recipe import Recipe
from toolchain.terminal import say
from toolchain.training.augment import is_active
from toolchain.training.batches import Examples
from toolchain.training.frozen import Cut, cut_of
from toolchain.training.inference import BATCH, Inference, Prepare
from toolchain.unfinished import Unfinished
from toolchain.values import Split

# A processor computes so many multiply-adds (50 G/s) while a disk reads a byte (1 GB/s): features
# that hold less work are sooner computed again than read.
LEAST_WORK: Final = 50
# What a killed process may have to compute again.
_MARK_SECONDS: Final = 5.0
_FLOAT32: Final = np.dtype(np.float32)
_COMPUTE_EACH_EPOCH: Final = "lower train.features_gib to compute them every epoch"


@dataclass(frozen=True, slots=True)
class Source:
    """What a phase trains on in the place of photos.

    Attributes:
      cut: where features leave the frozen layers.
      views: augmented views of each photo of the train split; 0: the photo as it is.
    """

    cut: Cut
    views: int

    def views_of(self, split: Split) -> int:
        """The other splits' photos are never changed."""
        return self.views if split == "train" else 0

    def is_below(self, other: Source, split: Split) -> bool:
        """Whether the other source's features of a split follow from these."""
        below = self.cut.position < other.cut.position
        return below and self.views_of(split) == other.views_of(split)


def source_of(
    network: tf_keras.Model, recipe: Recipe, phase: str, photos: Mapping[Split, Examples]
) -> Source | str:
    """Where the features of a phase come from; why there are none, where it trains on photos.

    Features are what the phase would compute from photos, except that views are drawn once.

    Args:
      network: with its layers frozen as the phase wants them.
      recipe: how.
      phase: the recipe's section, "train" or "fine_tune".
      photos: of both splits.

    Raises:
      RecipeError: there are no features for the views that the recipe asks for.
    """
    asked = getattr(recipe, phase).feature_views
    views = asked if is_active(recipe.augment) else 0
    if is_active(recipe.augment) and not views:
        return "photos changed every epoch"
    cut = cut_of(network)
    if cut is None:
        why = "nothing is frozen below its first layer"
    else:
        rows = len(photos["train"]) * max(views, 1) + len(photos["validation"])
        why = _against(cut, rows, recipe.train.features_gib, by_choice=bool(views))
        if not why:
            return Source(cut, views)
    if views:
        key = f"{phase}.feature_views"
        raise RecipeError([f"{key}: expected 0, because {why}; received {views}"], recipe.name)
    return why


def _against(cut: Cut, rows: int, most_gib: float, *, by_choice: bool) -> str:
    gib = rows * cut.photo_bytes / 2**30
    if gib > most_gib:
        return f"features of {gib:.2f} GiB are more than train.features_gib, {most_gib:g}"
    if not by_choice and cut.multiply_adds < LEAST_WORK * cut.photo_bytes:
        return (
            f"features of {cut.photo_bytes / 1024:,.0f} KiB a photo are slower to read than the "
            f"{cut.multiply_adds / 1e6:,.1f} M multiply-adds that they save"
        )
    return ""


@contextlib.contextmanager
def place_for(kept: Unfinished | None, out: Path) -> Iterator[Unfinished]:
    """Where features lie: with what is kept of the stage, or in `out` while they are needed."""
    if kept is not None:
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix=".features-", dir=out) as folder:
        yield Unfinished(Path(folder), "features", {})


class Features:
    """The features of a run's photos at the cuts of its phases."""

    def __init__(self, place: Unfinished, prepare: Prepare, seed: int) -> None:
        """Compute nothing yet.

        Args:
          place: where they lie.
          prepare: pixels -> the network's input.
          seed: that augmented views are drawn from.
        """
        self._place, self._prepare, self._seed = place, prepare, seed

    def of(
        self, photos: Examples, split: Split, source: Source, others: Sequence[Source] = ()
    ) -> Examples:
        """The tensor at the source's cut of every photo, view by view: float32 [rows, ...].

        Args:
          photos: the pixels of the split.
          split: which.
          source: the cut, and how many views.
          others: needed too; where one lies below, these features are made from its own.

        Raises:
          MachineError: the disk has no room for them.
        """
        cut, views = source.cut, source.views_of(split)
        name = f"{cut.layer}-{split}" + (f"-{views}-views" if views else "")
        labels = np.tile(photos.labels[photos.rows], max(views, 1))
        told = f"features of {split} up to {cut.layer}"
        file = _File(self._place, name, (len(labels), *cut.shape), told)
        if file.done < len(labels):
            model, inputs, passes = Inference(cut.below, self._prepare), photos, range(views)
            for lower in (one for one in others if one.is_below(source, split)):
                inputs = self.of(photos, split, lower)
                model, passes = Inference(lower.cut.up_to(cut), as_is), range(0)
            file.append(self._computed(model, inputs, list(passes) or [None], file))
        return Examples(file.rows(), labels, np.arange(len(labels)))

    def seconds(self) -> float:
        """What computing all of them took, in this try and in earlier ones."""
        return sum(_mark(path.with_suffix(".json"))[1] for path in self._place.folder.glob("*.npy"))

    def _computed(
        self, model: Inference, inputs: Examples, views: Sequence[int | None], file: _File
    ) -> Iterator[NDArray[np.float32]]:
        """The batches that the file lacks."""
        for number, view in enumerate(views):
            label = file.told + ("" if view is None else f", view {view + 1}")
            done = max(file.done - number * len(inputs), 0)
            if done < len(inputs):
                yield from model.outputs(
                    inputs, label, seed=self._seed, view=view, first=done // BATCH
                )


def as_is(features: Any, seed: Any, training: bool) -> Any:
    """Features need no preparation."""
    return features


class _File:
    """Rows of float32 that are appended batch by batch, and a mark that says how many there are.

    A mark is written after the rows that it counts have reached the disk.
    """

    def __init__(self, place: Unfinished, name: str, shape: tuple[int, ...], told: str) -> None:
        self.shape = shape
        self.told = told
        self._place, self._array, self._mark = place, f"{name}.npy", f"{name}.json"
        self.done, self.seconds = self._found()
        if self.done:
            say(f"{self.told}: {self.done:,} of {shape[0]:,} were computed before")

    def rows(self) -> StoredRows:
        return StoredRows(self._place.path(self._array))

    def append(self, batches: Iterator[NDArray[np.float32]]) -> None:
        path = self._place.path(self._array)
        row_bytes = math.prod(self.shape[1:]) * _FLOAT32.itemsize
        needed = (self.shape[0] - self.done) * row_bytes
        check_room(path, needed, "features take", _COMPUTE_EACH_EPOCH)
        if not self.done:
            self._keep()
            with writing(path):
                write_rows_header(path, self.shape, _FLOAT32)
        marked = time.monotonic()
        with path.open("r+b") as file:
            file.seek((self.done - self.shape[0]) * row_bytes, os.SEEK_END)
            for batch in batches:
                with writing(path):
                    file.write(np.ascontiguousarray(batch).data)
                self.done += len(batch)
                if self.done == self.shape[0] or time.monotonic() - marked >= _MARK_SECONDS:
                    with writing(path):
                        file.flush()
                        os.fsync(file.fileno())
                    now = time.monotonic()
                    self.seconds, marked = self.seconds + now - marked, now
                    self._keep()

    def _keep(self) -> None:
        told = f"{self.told}: {self.done:,} of {self.shape[0]:,}"
        mark = {"rows": self.done, "seconds": round(self.seconds, 3)}
        self._place.write(self._mark, json.dumps(mark).encode(), told)

    def _found(self) -> tuple[int, float]:
        """How many rows are there, and what they took; 0 where what is there is of no use."""
        rows, seconds = _mark(self._place.path(self._mark))
        try:
            stored = self.rows()
        except (OSError, ValueError):
            return 0, 0.0
        fits = (stored.shape, stored.dtype) == (self.shape, _FLOAT32) and rows <= self.shape[0]
        return (rows, seconds) if fits else (0, 0.0)


def _mark(path: Path) -> tuple[int, float]:
    """Rows and seconds of a mark; zeros where there is none, or a damaged one."""
    try:
        mark = json.loads(path.read_bytes())
        rows, seconds = mark["rows"], mark["seconds"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return 0, 0.0
    is_mark = type(rows) is int and rows >= 0 and type(seconds) is float and seconds >= 0
    return (rows, seconds) if is_mark else (0, 0.0)
