"""The forms of one int8 .onnx file that were tried on a machine, and which of them to write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from toolchain.recipe.sections import ONNX_FORMS
from toolchain.values import Interval

SCHEMA: Final = 1
STANDARD: Final = ONNX_FORMS[0]


@dataclass(frozen=True, slots=True)
class FormTrial:
    """One form of the file.

    Attributes:
      form: of `ONNX_FORMS`.
      bytes: size of the file.
      accuracy: top-1 on the validation split, through onnxruntime, 0..1 with its Wilson interval.
      agreement: share of those photos with the class of the graph that it was written from, 0..1.
      failures: gates that it misses and why it did not run, a sentence each.
      p50_ms: milliseconds a photo on one thread; None when it could not be timed.
      of_float, of_standard: its p50 as a share of the fp32 file's and of the standard form's.
      verdict: "faster", "slower" or "inconclusive" against the standard form; "" for itself.
    """

    form: str
    bytes: int
    accuracy: Interval
    agreement: float
    failures: tuple[str, ...]
    p50_ms: Interval | None
    of_float: Interval | None
    of_standard: Interval | None
    verdict: str

    @property
    def may_be_kept(self) -> bool:
        """Whether it holds every gate and runs."""
        return not self.failures and self.p50_ms is not None


@dataclass(frozen=True, slots=True)
class FormSearch:
    """What was tried and found.

    Attributes:
      date: UTC, ISO 8601; command: what re-makes it; toolchain: version.
      machine: what timed the files.
      precision: of the file, "int8-qat" or "int8-ptq".
      images: photos of the validation split.
      trials: one a form.
      chosen: the form that export writes from now on.
      reason: why, a sentence.
    """

    date: str
    command: str
    toolchain: str
    machine: dict[str, str]
    precision: str
    images: int
    trials: tuple[FormTrial, ...]
    chosen: str
    reason: str
    schema: int = SCHEMA


def choose_form(trials: Sequence[FormTrial]) -> tuple[str | None, str]:
    """The form to write and why; (None, why) when none holds the gates.

    The standard form stays unless another is faster beyond doubt, or it misses a gate or
    could not be timed.
    """
    kept = [trial for trial in trials if trial.may_be_kept]
    if not kept:
        return None, "No form both holds the gates and runs."
    standard = next((trial for trial in kept if trial.form == STANDARD), None)
    if standard is None:
        fastest = min(kept, key=_milliseconds)
        return fastest.form, f"{_why_not(trials)}; this is the fastest that holds the gates."
    faster = [trial for trial in kept if trial.verdict == "faster"]
    if not faster:
        return STANDARD, "No other form that holds the gates is faster beyond doubt."
    fastest = min(faster, key=_milliseconds)
    share = fastest.of_standard
    found = (
        f" ({share.value:.2f} of its time, {share.low:.2f} to {share.high:.2f})" if share else ""
    )
    return fastest.form, f"It holds the gates and is faster than {STANDARD}{found}."


def _why_not(trials: Sequence[FormTrial]) -> str:
    """Why the standard form is not kept."""
    standard = next((trial for trial in trials if trial.form == STANDARD), None)
    if standard is None:
        return f"{STANDARD} was not tried"
    if standard.p50_ms is None:
        return f"{STANDARD} could not be timed"
    return f"{STANDARD} misses a gate"


def _milliseconds(trial: FormTrial) -> float:
    return trial.p50_ms.value if trial.p50_ms else float("inf")
