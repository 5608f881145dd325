"""Whether a network learns its training photos by heart: what its history tells.

`noticed` while it is trained, `overfitting` of the network that came out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from toolchain.values import EpochRecord

# Points between train and validation that a reader should know about, and that ask for action.
NOTICEABLE: Final = 2.0
LARGE: Final = 5.0
# Standard errors that chance may take of the validation accuracy: 1 of 44 is further off.
_ERRORS: Final = 2.0
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


def noticed(phase: Sequence[EpochRecord], photos: int) -> str:
    """The first epoch at which a phase learns by heart, and what to try; empty while there is none.

    What counts is how far train accuracy lies above all that validation accuracy can be by chance.
    One of three must hold:

    - 5 points, and the validation loss has risen above its least while the train loss fell;
    - any, with twice the validation accuracy or more, and the validation loss has risen so: of
      hundreds of classes, 5 points can be all there is;
    - 10 points in two epochs one after the other, whatever the validation loss does. Once is not
      enough: in a first epoch, statistics of BatchNormalization can lag behind.

    The largest gap that digits and cats-and-dogs reach is 2.8 points.

    Args:
      phase: the records of one phase so far; epoch 0 is its start.
      photos: of the validation split.
    """
    for at, record in enumerate(phase):
        if record.epoch and _by_heart(phase[: at + 1], photos):
            return (
                f"{record.phase} learns its photos by heart from epoch {record.epoch} on, "
                f"{record.accuracy:.1%} on train, {record.validation_accuracy:.1%} on validation; "
                f"try {_REMEDIES}"
            )
    return ""


def _by_heart(phase: Sequence[EpochRecord], photos: int) -> bool:
    last, points = phase[-1], _sure_points(phase[-1], photos)
    least = min(phase, key=lambda record: record.validation_loss)
    if last.validation_loss > least.validation_loss and last.loss < _train_loss(phase, least):
        twice = points > 0 and last.accuracy >= 2 * last.validation_accuracy
        if points >= LARGE or twice:
            return True
    before = phase[-2] if len(phase) > 1 and phase[-2].epoch else None
    return before is not None and min(points, _sure_points(before, photos)) >= 2 * LARGE


def _train_loss(phase: Sequence[EpochRecord], record: EpochRecord) -> float:
    """Training's own loss then; the start has validation's, which nothing smooths or mixes."""
    trained = [one for one in phase if one.epoch]
    return (record if record.epoch else trained[0]).loss


def _sure_points(record: EpochRecord, photos: int) -> float:
    """Points of train above the upper end of validation's interval (Wilson's)."""
    share, z = record.validation_accuracy, _ERRORS**2 / photos
    spread = math.sqrt(z * (share * (1 - share) + z / 4))
    return 100 * (record.accuracy - (share + z / 2 + spread) / (1 + z))


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
    last, least = phase[-1], min(phase, key=lambda record: record.validation_loss)
    grew = last.validation_loss > (1 + _GREW) * least.validation_loss
    return grew and last.loss < _train_loss(phase, least)
