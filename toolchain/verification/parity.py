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
from toolchain.verification.metrics import Probabilities
from toolchain.verification.statistics import wilson

# Two float sums in another order differ by about 1e-6; classes closer than this are a tie.
TIE_MARGIN: Final = 1e-4
# Eight bits round each probability by up to 1/512; beyond that and this the sum is no sum to 1.
SUM_TOLERANCE: Final = 0.02
_ROUNDING: Final = 1 / 512
_BEST: Final = 5


@dataclass(frozen=True, slots=True)
class _Bounds:
    """What every file is judged by; `baselines`: format -> accuracy that int8 is held against."""

    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    gates: VerifySection
    baselines: dict[str, float]


def verify(
    asked: Sequence[Asked],
    references: Mapping[str, Probabilities],
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    gates: VerifySection,
) -> Verification:
    """Compare each file's answers with its reference on the same images.

    Args:
      asked: what the files answered, see `ask.ask`.
      references: precision -> probabilities of the Keras model such files come from, float32
        [n, classes]: "fp32" the float model, always needed; "int8-qat" the QAT graph.
      labels: the images' classes, int64 [n].
      classes: names, in the order of the labels.
      gates: the bounds of the recipe.

    Returns:
      One entry a file; a missed gate is a sentence in its `failures` and `passed` is False.

    Raises:
      InputError: no files, or references that do not fit the images.
      ModelError: a file has another number of classes.
    """
    _check_arguments(asked, references, labels, classes)
    bounds = _Bounds(labels, classes, gates, _baselines(asked, references, labels))
    files = tuple(_judge(one, references[one.model.contract.precision], bounds) for one in asked)
    return Verification(classes, files, passed=not any(file.failures for file in files))


def _check_arguments(
    asked: Sequence[Asked],
    references: Mapping[str, Probabilities],
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
) -> None:
    if not asked or any(len(one.probabilities) != len(labels) for one in asked):
        counts = [len(one.probabilities) for one in asked]
        raise InputError(
            f"expected answers to {len(labels)} images of each file, received {counts}"
        )
    needed = {"fp32"} | {one.model.contract.precision for one in asked}
    if missing := sorted(needed - set(references)):
        raise InputError(f"expected the reference probabilities of {', '.join(missing)}")
    for precision, reference in references.items():
        if reference.shape != (len(labels), len(classes)):
            raise InputError(
                f"expected the {precision} reference as [{len(labels)}, {len(classes)}], "
                f"received {list(reference.shape)}"
            )


def _baselines(
    answers: Sequence[Asked], references: Mapping[str, Probabilities], labels: NDArray[np.int64]
) -> dict[str, float]:
    """Format -> accuracy that its int8 file is held against: the fp32 file's, or the model's."""
    model = metrics.accuracy(references["fp32"], labels)
    found = {one.model.contract.format: model for one in answers}
    for one in answers:
        if one.model.contract.precision == "fp32" and _comparable(one, references["fp32"]):
            found[one.model.contract.format] = metrics.accuracy(one.probabilities, labels)
    return found


def _comparable(one: Asked, reference: Probabilities) -> bool:
    return one.probabilities.shape == reference.shape


def _judge(one: Asked, reference: Probabilities, bounds: _Bounds) -> FileVerification:
    contract, found, labels = one.model.contract, one.probabilities, bounds.labels
    if not _comparable(one, reference):
        raise ModelError(
            f"expected {len(bounds.classes)} classes, the file has {found.shape[1]}",
            str(one.model.path),
            "export it again",
        )
    failures = _contract_failures(one, bounds.classes)
    if contract.precision == "fp32":
        failures += _float_failures(found, reference, bounds.gates)
    else:
        failures += _int8_failures(found, reference, bounds, bounds.baselines[contract.format])
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
    )


def _top5(found: Probabilities, labels: NDArray[np.int64]) -> Interval | None:
    """With five classes or fewer everything is among the best five."""
    if found.shape[1] <= _BEST:
        return None
    return wilson(metrics.among_best(found, labels, _BEST), len(labels))


def _contract_failures(one: Asked, classes: tuple[str, ...]) -> list[str]:
    failures = []
    if one.labels != classes:
        place = next(
            (i for i, (a, b) in enumerate(zip(one.labels, classes, strict=False)) if a != b), 0
        )
        failures.append(
            f"the labels in the file differ from the model's: class {place} is "
            f"{one.labels[place]!r:.60}, expected {classes[place]!r:.60}"
        )
    error = metrics.sum_error(one.probabilities)
    allowed = SUM_TOLERANCE + len(classes) * _ROUNDING
    if error > allowed:
        failures.append(
            f"the outputs are no probabilities: a sum is {error:.3g} away from 1, "
            f"at most {allowed:.3g} is allowed"
        )
    return failures


def _float_failures(
    found: Probabilities, reference: Probabilities, gates: VerifySection
) -> list[str]:
    failures = []
    difference = metrics.max_difference(found, reference)
    if difference > gates.fp32_difference:
        failures.append(
            f"a probability differs from the Keras model's by {difference:.3g}, "
            f"at most {gates.fp32_difference:.3g} is allowed (verify.fp32_difference)"
        )
    different = metrics.disagreements(found, reference, TIE_MARGIN)
    if len(different):
        failures.append(
            f"{len(different)} of {len(found)} images get another class than from the Keras "
            f"model, the first is test image {different[0]}; none is allowed"
        )
    return failures


def _int8_failures(
    found: Probabilities, reference: Probabilities, bounds: _Bounds, baseline: float
) -> list[str]:
    failures, gates, labels = [], bounds.gates, bounds.labels
    same = metrics.agreement(found, reference)
    if same < gates.int8_agreement:
        failures.append(
            f"{same:.2%} of the images get the same class as from the QAT graph, "
            f"at least {gates.int8_agreement:.2%} is asked for (verify.int8_agreement)"
        )
    right = int(np.sum(metrics.top1(found) == labels))
    # Counted in images, so that a drop of exactly the allowed points is not lost to rounding.
    lost = round(baseline * len(labels)) - right
    if lost * 100 > gates.accuracy_drop * len(labels):
        failures.append(
            f"{right / len(labels):.2%} of the images are right, {100 * lost / len(labels):.2f} "
            f"points less than fp32 with {baseline:.2%}; at most {gates.accuracy_drop:g} points "
            "may be lost (verify.accuracy_drop)"
        )
    return failures
