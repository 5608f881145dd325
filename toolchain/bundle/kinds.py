"""The kinds of bundle, and which exported file is best for each: every choice with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from toolchain.bundle.offer import Choice, Offer
from toolchain.contract import ExportedModel
from toolchain.errors import InputError

_INT8: Final = "8-bit integers: a quarter of the size, and the fastest on processors"
_FLOAT: Final = "the exact float file"


@dataclass(frozen=True, slots=True)
class Wish:
    """Which file of one format a kind wants.

    Attributes:
      format: "tflite" or "onnx".
      precisions: best first, each with the reason; any other is taken where none of them is.
      proven: int8 only where verify held it against its gates.
    """

    format: str
    precisions: tuple[tuple[str, str], ...]
    proven: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of bundle.

    Attributes:
      name: as in --for; also the folder of its templates.
      title: as in a heading.
      wishes: the model files, the first of which the pasted code opens.
    """

    name: str
    title: str
    wishes: tuple[Wish, ...]


_TFLITE: Final = Wish(
    "tflite",
    (
        ("int8-qat", _INT8),
        ("int8-ptq", _INT8),
        ("fp16", "half the size of float32"),
        ("fp32", _FLOAT),
    ),
)
_SERVER_ONNX: Final = Wish(
    "onnx", (("int8-qat", _INT8), ("int8-ptq", _INT8), ("fp32", _FLOAT)), proven=True
)
_WEB_ONNX: Final = Wish(
    "onnx", (("fp32", "in browsers onnxruntime-web runs int8 slower than float32"),)
)
KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("android", "Android", (_TFLITE,)),
        Kind("ios", "iOS", (_TFLITE,)),
        Kind("web", "web pages", (_TFLITE, _WEB_ONNX)),
        Kind("server", "servers", (_SERVER_ONNX, _TFLITE)),
    )
}


def choose(kind: Kind, offer: Offer, precision: str = "") -> tuple[Choice, ...]:
    """One file a wish of the kind, where the run has one that fits.

    Args:
      kind: what is wished.
      offer: what there is.
      precision: take this one and no other; empty leaves it to the kind.

    Raises:
      InputError: the run has no file that fits any wish.
    """
    found = (_best(wish, offer, precision) for wish in kind.wishes)
    choices = tuple(choice for choice in found if choice is not None)
    if not choices:
        there = ", ".join(model.path.name for model in offer.exported)
        wanted = " or ".join(f".{wish.format}" for wish in kind.wishes)
        raise InputError(
            f"expected a {precision or 'usable'} {wanted} file for {kind.name}, found {there}",
            offer.name,
            "add it to export.formats and export.precisions, then: make export verify",
        )
    return choices


def _best(wish: Wish, offer: Offer, precision: str) -> Choice | None:
    models = [model for model in offer.exported if model.contract.format == wish.format]
    if precision:
        model = _find(models, precision)
        return Choice(model, "asked for") if model else None
    rest = ((model.contract.precision, f"no better .{wish.format} is there") for model in models)
    for wanted, reason in (*wish.precisions, *rest):
        model = _find(models, wanted)
        if model is not None and _holds(model, wish, offer):
            return Choice(model, reason)
    return None


def _find(models: Sequence[ExportedModel], precision: str) -> ExportedModel | None:
    """The one that takes batches of any size, where there is also one for batches of one."""
    found = [model for model in models if model.contract.precision == precision]
    return min(found, key=lambda model: model.contract.input.shape[0], default=None)


def _holds(model: ExportedModel, wish: Wish, offer: Offer) -> bool:
    verified = offer.verified.get(model.path.name)
    if verified is None:
        return not (wish.proven and model.contract.precision.startswith("int8"))
    return not verified.failures
