"""The model card: what is in a bundle, how good it is, how to use it and to make it again."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from toolchain.bundle.kinds import Kind
from toolchain.bundle.offer import Choice, Offer
from toolchain.recipe.write import RECIPE_FILE
from toolchain.report import words
from toolchain.report.markdown import escape
from toolchain.values import SPLITS, Dataset

MAX_CLASSES: Final = 40
# Published with the files that `pretrained.py` knows; others come from the user.
_WEIGHTS: Final = {
    "mobilenet_v2_0.35_48": "the toolchain's embedded backbone, trained on CIFAR-10: Apache-2.0",
    "mobilenet_v2": "MobileNetV2 with ImageNet weights, as published with Keras: Apache-2.0",
    "vgg16": "VGG16 with ImageNet weights of the Visual Geometry Group, Oxford: CC BY 4.0",
}
_RANDOM: Final = "backbone from random weights"


def render_card(kind: Kind, choices: tuple[Choice, ...], offer: Offer) -> str:
    """README.md of a bundle; names that come from the user are escaped."""
    import jinja2

    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("toolchain.bundle", "cards"),
        autoescape=False,  # noqa: S701 - Markdown; the filter `text` escapes for it
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {
        "text": escape,
        "percent": words.percent,
        "interval": words.interval,
        "ms": words.milliseconds,
        "mb": words.megabytes,
        "setup": words.setup,
        "whole": words.whole,
    }
    return templates.get_template("card.md.j2").render(_values(kind, choices, offer))


def _values(kind: Kind, choices: tuple[Choice, ...], offer: Offer) -> dict[str, Any]:
    names = [choice.model.path.name for choice in choices]
    contract = choices[0].model.contract
    return {
        "kind": kind,
        "name": offer.name,
        "choices": choices,
        "model": names[0],
        "contract": contract,
        "verified": [offer.verified[name] for name in names if name in offer.verified],
        "rows": [row for choice in choices for row in offer.measured(choice.model)],
        "machine": offer.benchmark.machine if offer.benchmark else {},
        "photos": _photos(offer.dataset),
        "splits": SPLITS,
        "more_classes": max(0, len(contract.labels) - MAX_CLASSES),
        "labels": contract.labels[:MAX_CLASSES],
        "licence": _licence(offer.notes),
        "command": offer.command,
        "recipe_file": RECIPE_FILE if RECIPE_FILE in offer.beside else "",
    }


def _photos(dataset: Dataset | None) -> dict[str, list[int]]:
    """Class -> photos in each of `SPLITS`."""
    if dataset is None:
        return {}
    counted = Counter(zip(dataset.labels, dataset.splits, strict=True))
    return {
        name: [counted[label, split] for split in SPLITS]
        for label, name in enumerate(dataset.classes)
    }


def _licence(notes: tuple[str, ...]) -> str:
    """What is known of the licence of the weights that training started from."""
    note = next((note for note in notes if note.startswith("backbone from ")), "")
    if note == _RANDOM:
        return "Trained from random weights: no one else's licence applies to them."
    for stem, licence in _WEIGHTS.items():
        if stem in note:
            return f"Started from {licence}."
    return "Started from weights of your own; their licence is yours to know."
