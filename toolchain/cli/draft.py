"""A small recipe for a folder of photos, and what was assumed in it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from toolchain.data.source import find_source
from toolchain.data.sources.base import Layout
from toolchain.errors import InputError, is_printable
from toolchain.models import locate
from toolchain.recipe import Recipe, parse_recipe
from toolchain.recipe.sections import WITHOUT_PATH
from toolchain.training.pretrained import find_imagenet

# Below this many photos a class, a random change of every photo is worth its time.
_FEW_PHOTOS: Final = 1000
_SPLIT_ADVICE: Final = "test photos are opened by verify, benchmark and report alone"


@dataclass(frozen=True, slots=True)
class Draft:
    """A recipe's text, the recipe that it parses to, and one sentence an assumption."""

    text: str
    recipe: Recipe
    assumptions: tuple[str, ...]


def draft_recipe(photos: Path, overrides: list[str] | None = None) -> Draft:
    """Look at the photos and write the recipe that fits them.

    Raises:
      DataError: no photos, no known layout, fewer than two classes, an empty class.
      RecipeError: an override is wrong.
    """
    path = _located(photos)
    layout = find_source(path, probe_recipe(photos, overrides).data.source).layout
    name = _name(path)
    weights, why = _weights(name, str(path))
    count = len(layout.items)
    few = count < _FEW_PHOTOS * len(layout.classes)
    text = _text(path, weights, augment=few and weights != "embedded")
    assumptions = (
        f"{count:,} photos in {len(layout.classes)} classes: {_some(layout.classes)}",
        f"layout {layout.name}{_given(layout)}",
        *layout.notes,
        why,
        _SPLIT_ADVICE,
    )
    table = _table(path, weights, augment=few and weights != "embedded")
    recipe = parse_recipe(table, name=name, where=f"recipe for {path}", overrides=overrides)
    return Draft(text, recipe, assumptions)


def probe_recipe(photos: Path, overrides: list[str] | None = None) -> Recipe:
    """What `draft_recipe` says about the data alone, without looking at the photos.

    Raises:
      RecipeError: an override is wrong.
      InputError: it asks for a source that does not read photos.
    """
    path = _located(photos)
    table = {"data": {"path": str(path)}}
    recipe = parse_recipe(table, name=_name(path), where=f"recipe for {path}", overrides=overrides)
    if recipe.data.source.startswith(WITHOUT_PATH):
        raise InputError(
            f"expected photos or a source that brings its own, received {recipe.data.source} too",
            str(path),
            "leave out one of the two",
        )
    return recipe


def _located(photos: Path) -> Path:
    """Where the photos lie, from here or from $TOOLCHAIN_DATA/datasets, as an absolute path.

    Raises:
      InputError: a recipe cannot name it, as recipes are UTF-8.
    """
    path = locate(str(photos), "datasets").absolute()
    if not is_printable(str(path)):
        raise InputError(
            "expected a path of printable text in UTF-8", repr(str(path)), "rename the folder"
        )
    return path


def _name(path: Path) -> str:
    stem = path.name.lower().split(".")[0]
    return re.sub(r"[^a-z0-9_-]+", "-", stem).strip("-")[:60] or "photos"


def _some(classes: tuple[str, ...]) -> str:
    shown = ", ".join(classes[:6])
    return shown if len(classes) <= 6 else f"{shown} and {len(classes) - 6} more"


def _given(layout: Layout) -> str:
    splits = sorted({item.split for item in layout.items if item.split})
    return f", its split kept: {', '.join(splits)}" if splits else ", split by content: 70/15/15"


def _weights(name: str, path: str) -> tuple[str, str]:
    """Which backbone: ImageNet's when its file is at hand, else the one that comes along."""
    probe = parse_recipe({"data": {"path": path}}, name=name)
    found = find_imagenet(probe)
    if found is not None:
        return "imagenet", f"MobileNetV2 1.0 at 160 pixels with ImageNet weights from {found.name}"
    return "embedded", (
        "MobileNetV2 0.35 at 48 pixels, the small backbone that comes along; no ImageNet weights "
        'are on this machine, set model.weights = "imagenet" to download them for better accuracy'
    )


def _table(path: Path, weights: str, *, augment: bool) -> dict[str, object]:
    table: dict[str, object] = {"data": {"path": str(path)}, "model": {"weights": weights}}
    if augment:
        table["augment"] = {"flip": True}
    return table


def _text(path: Path, weights: str, *, augment: bool) -> str:
    lines = [
        "# What is not said here keeps its default: see toolchain keys",
        "[data]",
        f"path = {json.dumps(str(path), ensure_ascii=False)}",
        "",
        "[model]",
        f"weights = {json.dumps(weights)}",
    ]
    if augment:
        lines += ["", "[augment]", "flip = true"]
    return "\n".join(lines) + "\n"
