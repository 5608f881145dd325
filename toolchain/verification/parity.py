"""Compares what every exported file answered with the model that it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import InputError, ModelError
from toolchain.recipe.sections import VerifySection
from toolchain.values import FileVerification, Interval, Verification
from toolchain.verification import metrics
from toolchain.verification.ask import Asked
from toolchain.verification.gates import (
    accuracy_failures,
    contract_failures,
    gates_of,
    parity_failures,
)
from toolchain.verification.metrics import Probabilities
from toolchain.verification.pairs import Photos, compare
from toolchain.verification.statistics import wilson

_BEST: Final = 5


@dataclass(frozen=True, slots=True)
class _Bounds:
    """What every file is judged by; `floats`: format -> its fp32 file's name and answers."""

    photos: Photos
    classes: tuple[str, ...]
    gates: VerifySection
    floats: dict[str, tuple[str, Probabilities]]


def verify(
    asked: Sequence[Asked],
    references: Mapping[str, Probabilities],
    photos: Photos,
    classes: tuple[str, ...],
    gates: VerifySection,
) -> Verification:
    """Compare each file's answers with its reference on the same images.

    Args:
      asked: what the files answered, see `ask.ask`.
      references: precision -> probabilities of the network such files come from, float32
        [n, classes]: "fp32" the float model, always needed; "int8-ptq" and "int8-qat" the
        networks in integers.
      photos: what was asked about.
      classes: names, in the order of the labels.
      gates: the bounds of the recipe.

    Returns:
      One entry a file; a missed gate is a sentence in its `failures` and `passed` is False.

    Raises:
      InputError: no files, or references that do not fit the images.
      ModelError: a file has another number of classes.
    """
    _check_arguments(asked, references, photos.labels, classes, gates)
    bounds = _Bounds(photos, classes, gates, _floats(asked, references["fp32"]))
    files = tuple(_judge(one, references, bounds) for one in asked)
    return Verification(classes, files, passed=not any(file.failures for file in files))


def _check_arguments(
    asked: Sequence[Asked],
    references: Mapping[str, Probabilities],
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    gates: VerifySection,
) -> None:
    if not asked or any(len(one.probabilities) != len(labels) for one in asked):
        counts = [len(one.probabilities) for one in asked]
        raise InputError(
            f"expected answers to {len(labels)} images of each file, received {counts}"
        )
    needed = {"fp32"} | {gates_of(one.model.contract.precision, gates).reference for one in asked}
    if missing := sorted(needed - set(references)):
        raise InputError(f"expected the reference probabilities of {', '.join(missing)}")
    for precision, reference in references.items():
        if reference.shape != (len(labels), len(classes)):
            raise InputError(
                f"expected the {precision} reference as [{len(labels)}, {len(classes)}], "
                f"received {list(reference.shape)}"
            )


def _floats(asked: Sequence[Asked], model: Probabilities) -> dict[str, tuple[str, Probabilities]]:
    """Format -> name and answers of its fp32 file, or of the float model where there is none."""
    found = {one.model.contract.format: ("Keras", model) for one in asked}
    for one in asked:
        if one.model.contract.precision == "fp32" and _comparable(one, model):
            found[one.model.contract.format] = (one.model.path.name, one.probabilities)
    return found


def _comparable(one: Asked, reference: Probabilities) -> bool:
    return one.probabilities.shape == reference.shape


def _judge(
    one: Asked, references: Mapping[str, Probabilities], bounds: _Bounds
) -> FileVerification:
    contract, found, labels = one.model.contract, one.probabilities, bounds.photos.labels
    gates = gates_of(contract.precision, bounds.gates)
    reference = references[gates.reference]
    if not _comparable(one, reference):
        raise ModelError(
            f"expected {len(bounds.classes)} classes, the file has {found.shape[1]}",
            str(one.model.path),
            "export it again",
        )
    failures = contract_failures(one, bounds.classes)
    failures += parity_failures(found, reference, gates)
    name, baseline = bounds.floats[contract.format]
    if contract.precision == "fp32":
        name, baseline = "Keras", references["fp32"]
    paired, flips = compare(found, baseline, bounds.photos, name)
    failures += accuracy_failures(metrics.accuracy(found, labels), len(labels), paired, gates)
    right = int(np.sum(metrics.top1(found) == labels))
    return FileVerification(
        file=one.model.path.name,
        format=contract.format,
        precision=contract.precision,
        runtime=one.runtime,
        images=len(labels),
        agreement=metrics.agreement(found, reference),
        max_difference=metrics.max_difference(found, reference),
        accuracy=wilson(right, len(labels)),
        reference_accuracy=metrics.accuracy(reference, labels),
        confusion=tuple(tuple(map(int, row)) for row in metrics.confusion(found, labels)),
        failures=tuple(failures),
        top5=_top5(found, labels),
        mean_difference=metrics.mean_difference(found, reference),
        paired=paired,
        flips=flips,
    )


def _top5(found: Probabilities, labels: NDArray[np.int64]) -> Interval | None:
    """With five classes or fewer everything is among the best five."""
    if found.shape[1] <= _BEST:
        return None
    return wilson(metrics.among_best(found, labels, _BEST), len(labels))
