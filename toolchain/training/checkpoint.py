"""The state of a phase after an epoch, as one file: what a killed training goes on from.

One .safetensors file a phase, replaced whole after each epoch. Its tensors are named by group and
position; history and best epoch are JSON in its metadata. Shuffling, augmentation and dropout
follow from the seed, the epoch and the step, so that no generator's state belongs to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import tf_keras
from numpy.typing import NDArray

from toolchain.saved import from_plain
from toolchain.terminal import say
from toolchain.training.distribution import from_chief, has_chief
from toolchain.unfinished import Unfinished
from toolchain.values import EpochRecord

Values = list[NDArray[Any]]
# The group of the best epoch's weights; a finished phase has no other.
BEST: Final = "best"


@dataclass(slots=True)
class Progress:
    """How far a phase has come.

    Attributes:
      history: one record an epoch; record 0 may be the start.
      best: position of the best record in it; -1 before the first.
      weights: of the best epoch, in the order of `changing`.
      finished: no epoch follows.
    """

    history: list[EpochRecord] = field(default_factory=list)
    best: int = -1
    weights: Values = field(default_factory=list)
    finished: bool = False

    @property
    def epoch(self) -> int:
        """The last epoch that was finished; 0 before the first."""
        return self.history[-1].epoch if self.history else 0

    @property
    def waited(self) -> int:
        """Epochs since the best one."""
        return len(self.history) - 1 - self.best


def changing(model: tf_keras.Model) -> list[Any]:
    """The variables that training may change: those of layers that are not frozen."""
    return [weight for layer in model.layers if layer.trainable for weight in layer.weights]


def values(variables: Sequence[Any]) -> Values:
    """What variables hold, each in its own type."""
    return [variable.numpy() for variable in variables]


def assign(variables: Sequence[Any], arrays: Sequence[NDArray[Any]]) -> None:
    """Set variables from arrays in the same order."""
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


class Checkpoint:
    """One phase's file in what its stage keeps; without a place to keep it, nothing is kept."""

    def __init__(self, kept: Unfinished | None, phase: str, epochs: int) -> None:
        self._kept = kept
        self._phase = phase
        self._epochs = epochs

    def save(self, progress: Progress, state: Mapping[str, Sequence[Any]]) -> None:
        """Write the progress and, of an unfinished phase, what groups of variables hold."""
        if self._kept is None:
            return
        from safetensors.numpy import save

        groups = {} if progress.finished else {name: values(of) for name, of in state.items()}
        tensors = {
            f"{group}.{position}": np.asarray(array, order="C")
            for group, arrays in (groups | {BEST: progress.weights}).items()
            for position, array in enumerate(arrays)
        }
        told = {
            "history": [asdict(record) for record in progress.history],
            "best": progress.best,
            "finished": progress.finished,
        }
        data = save(tensors, metadata={"progress": json.dumps(told)})
        self._kept.write(self._file, data, self._reached(progress))

    def load(self, best: Sequence[Any], state: Mapping[str, Sequence[Any]]) -> Progress | None:
        """Set the groups of variables from the file and return its progress.

        Args:
          best: the variables that the best epoch's weights belong to; they are not set.
          state: group -> its variables; a finished phase sets none.

        Returns:
          None when there is no file, or one that does not fit: then nothing was set.
        """
        if self._kept is None:
            return None
        path = self._agreed(self._kept)
        if not path.exists():
            return None
        from safetensors import SafetensorError

        try:
            progress, found = _read(path, {**state, BEST: best})
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            say(f"{self._phase}: what was kept cannot be used, it starts over: {error}")
            path.unlink()
            return None
        for name, variables in state.items():
            if not progress.finished:
                assign(variables, found[name])
        progress.weights = found[BEST]
        self._kept.reached = self._reached(progress)
        return progress

    def finished(self, model: tf_keras.Model) -> Progress | None:
        """The progress of a phase that is over; its best weights are the model's then."""
        progress = self.load(changing(model), {})
        if progress is None or not progress.finished:
            return None
        say(f"{self._phase}: finished before, {progress.epoch} epochs")
        assign(changing(model), progress.weights)
        return progress

    def _agreed(self, kept: Unfinished) -> Path:
        """The file, which is the first machine's on every machine: one may be an epoch ahead."""
        path = kept.path(self._file)
        if not has_chief():
            return path
        own = path.read_bytes() if path.exists() else b""
        data = from_chief(own)
        if data == own:
            return path
        if data:
            kept.write(self._file, data, self._reached(Progress()))
        else:
            path.unlink()
        return path

    @property
    def _file(self) -> str:
        return f"{self._phase}.safetensors"

    def _reached(self, progress: Progress) -> str:
        return f"{self._phase} after epoch {progress.epoch} of {self._epochs}"


def _read(path: Path, state: Mapping[str, Sequence[Any]]) -> tuple[Progress, dict[str, Values]]:
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        told = json.loads(file.metadata()["progress"])
        history = from_plain(tuple[EpochRecord, ...], told["history"], "history")
        progress = Progress(list(history), told["best"], finished=told["finished"])
        wanted = {BEST: state[BEST]} if progress.finished else state
        found = {
            group: [
                _fitting(file.get_tensor(f"{group}.{position}"), variable)
                for position, variable in enumerate(variables)
            ]
            for group, variables in wanted.items()
        }
    return progress, found


def _fitting(array: NDArray[Any], variable: Any) -> NDArray[Any]:
    expected = tuple(variable.shape), variable.dtype.as_numpy_dtype
    if (array.shape, array.dtype.type) != expected:
        raise ValueError(
            f"expected {expected[1].__name__} {expected[0]}, found {array.dtype} {array.shape}"
        )
    return array
