"""What each exported file is held to, and the sentences for what it misses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from toolchain.recipe.sections import VerifySection
from toolchain.values import Paired
from toolchain.verification import metrics
from toolchain.verification.ask import Asked
from toolchain.verification.metrics import Probabilities

# Two float sums in another order differ by about 1e-6; classes closer than this are a tie.
TIE_MARGIN: Final = 1e-4
# Eight bits round each probability by up to 1/512; beyond that and this the sum is no sum to 1.
SUM_TOLERANCE: Final = 0.02
_ROUNDING: Final = 1 / 512


@dataclass(frozen=True, slots=True)
class Gates:
    """The bounds for files of one precision.

    Attributes:
      reference: precision of the network that such files come from. An int8 file comes from its
        own, in integers; fp16 and w8 only store the float model another way.
      largest_difference: of a probability from the reference's.
      mean_difference: the same as `metrics.mean_difference` measures it: rounding may move one
        image a lot, and must not move many.
      agreement: least share of images with the reference's class, 0..1.
      accuracy_drop: most points of accuracy that may be lost against the float file.
      keys: the recipe's names of difference, agreement and drop, for messages.
    """

    reference: str
    largest_difference: float
    mean_difference: float
    agreement: float
    accuracy_drop: float
    keys: tuple[str, str, str]


def gates_of(precision: str, section: VerifySection) -> Gates:
    """The bounds that a recipe's [verify] sets for a precision."""
    family = precision.split("-", maxsplit=1)[0]
    drop = "ptq_accuracy_drop" if precision == "int8-ptq" else "accuracy_drop"
    keys = (f"{family}_difference", f"{family}_agreement", drop)
    if precision == "fp32":
        return Gates("fp32", section.fp32_difference, 1.0, 1.0, math.inf, keys)
    points = section.points_lost(precision)
    if precision == "fp16":
        return Gates("fp32", section.fp16_difference, 1.0, section.fp16_agreement, points, keys)
    if precision == "w8":
        return Gates("fp32", 1.0, section.w8_difference, section.w8_agreement, points, keys)
    return Gates(precision, 1.0, section.int8_difference, section.int8_agreement, points, keys)


def parity_failures(found: Probabilities, reference: Probabilities, gates: Gates) -> list[str]:
    """Where a file's probabilities are not those of the model it came from."""
    failures = []
    difference = metrics.max_difference(found, reference)
    if difference > gates.largest_difference:
        failures.append(
            f"a probability differs from its network's by {difference:.3g}, "
            f"at most {gates.largest_difference:.3g} is allowed (verify.{gates.keys[0]})"
        )
    difference = metrics.mean_difference(found, reference)
    if difference > gates.mean_difference:
        failures.append(
            f"probabilities differ from its network's by {difference:.3g} on average, "
            f"at most {gates.mean_difference:.3g} is allowed (verify.{gates.keys[0]})"
        )
    different = metrics.disagreements(found, reference, TIE_MARGIN)
    same = 1.0 - len(different) / len(found)
    if same < gates.agreement:
        allowed = f"at least {gates.agreement:.2%} is asked for (verify.{gates.keys[1]})"
        failures.append(
            f"{same:.2%} of the images get the same class as from the network it came from, "
            f"not test image {different[0]}; "
            + ("none may differ" if gates.agreement == 1.0 else allowed)
        )
    return failures


def accuracy_failures(accuracy: float, count: int, paired: Paired, gates: Gates) -> list[str]:
    """Whether a file gets too many fewer images right than the float file.

    The gate is on what was counted; the interval says how far to trust it.
    """
    # Counted in images, so that a drop of exactly the allowed points is not lost to rounding.
    lost = paired.lost - paired.gained
    if lost * 100 <= gates.accuracy_drop * count:
        return []
    sure = paired.difference
    return [
        f"{accuracy:.2%} of the images are right, {100 * lost / count:.2f} points less than "
        f"fp32 with {accuracy + lost / count:.2%} (95 %: {-100 * sure.high:.2f} to "
        f"{-100 * sure.low:.2f}, p = {paired.p_value:.2g}); at most {gates.accuracy_drop:g} points "
        f"may be lost (verify.{gates.keys[2]})"
    ]


def contract_failures(one: Asked, classes: tuple[str, ...]) -> list[str]:
    """Labels in another order, and outputs that are no probabilities."""
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
