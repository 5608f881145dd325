"""Whether the float network learned its training photos by heart: what the history tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from toolchain.values import EpochRecord

# Points between train and validation that a reader should know about, and that ask for action.
NOTICEABLE: Final = 2.0
LARGE: Final = 5.0
# Validation loss that grew by this share since its least while training loss fell.
_GREW: Final = 0.1
_REMEDIES: Final = (
    "more photos, more [augment], a higher model.head.dropout, train.weight_decay, or fewer epochs"
)


@dataclass(frozen=True, slots=True)
class Gap:
    """Train against validation.

    Attributes:
      train, validation: accuracy in the epoch whose weights were taken, 0..1.
      points: 100 x (train - validation); below 0 where dropout and augmentation make training
        harder than validation.
      rising: validation loss rose again by the end while training loss fell.
      verdict: one sentence; remedy: what to try, empty when there is nothing to do.
    """

    train: float
    validation: float
    points: float
    rising: bool
    verdict: str
    remedy: str


def overfitting(history: Sequence[EpochRecord], best: int) -> Gap | None:
    """The gap in the epoch whose weights were taken; None when none was trained.

    Epoch 0 of a phase is its start, which has no figures of its own on train photos: then the best
    epoch of the phase before counts.
    """
    taken = _taken(history, best)
    if taken is None:
        return None
    points = 100 * (taken.accuracy - taken.validation_accuracy)
    rising = _rises([record for record in history if record.phase == taken.phase])
    figures = f"{100 * taken.accuracy:.1f} % on train, {100 * taken.validation_accuracy:.1f} % on"
    figures += " validation"
    if points >= LARGE:
        verdict, remedy = f"It overfits: {figures}, {points:.1f} points apart.", _REMEDIES
    elif points >= NOTICEABLE:
        verdict, remedy = f"It overfits a little: {figures}, {points:.1f} points apart.", _REMEDIES
    else:
        verdict, remedy = f"No overfitting is seen: {figures}.", ""
    if rising:
        verdict += " Later epochs made the validation loss worse; the earlier weights were kept."
    return Gap(taken.accuracy, taken.validation_accuracy, points, rising, verdict, remedy)


def _taken(history: Sequence[EpochRecord], best: int) -> EpochRecord | None:
    if not history:
        return None
    if history[best].epoch:
        return history[best]
    trained = [record for record in history[:best] if record.epoch]
    same = [record for record in trained if record.phase == trained[-1].phase]
    return min(same, key=lambda record: record.validation_loss, default=None)


def _rises(phase: Sequence[EpochRecord]) -> bool:
    least = min(range(len(phase)), key=lambda at: phase[at].validation_loss)
    last = phase[-1]
    grew = last.validation_loss > (1 + _GREW) * phase[least].validation_loss
    return grew and last.loss < phase[least].loss
