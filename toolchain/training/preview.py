"""One picture of what training will see: photos beside their augmented versions."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from toolchain.files import write_bytes
from toolchain.recipe import Recipe
from toolchain.terminal import plain
from toolchain.training.augment import augment, mix
from toolchain.values import Dataset

_VERSIONS: Final = 6
_LEAST_SIDE: Final = 112
_CAPTION: Final = 18
_GAP: Final = 6
_INK, _PAPER = (40, 40, 40), (255, 255, 255)


def preview_grid(dataset: Dataset, recipe: Recipe, path: Path, count: int) -> None:
    """Write a PNG: one row a training photo, the photo first, then versions that training may see.

    The changes are those of the training step, with its functions, on one batch of these photos.

    Args:
      dataset: where the photos come from; only its train split is used.
      recipe: says the changes and the seed that photos and changes are drawn with.
      path: of the PNG.
      count: photos, at most; a small train split gives fewer.
    """
    train = dataset.indices("train")
    order = np.random.default_rng(recipe.train.seed).permutation(train)
    rows = _of_every_class(order, dataset, count)
    photos = dataset.pixels()[rows]
    names = [dataset.classes[dataset.labels[row]] for row in rows]
    files = [f"{name}: {dataset.names[row]}" for name, row in zip(names, rows, strict=True)]
    columns = [(photos, files)]
    for version in range(1, _VERSIONS + 1):
        changed, share = _changed(photos, recipe, version)
        columns.append((changed, _captions(names, share)))
    buffer = io.BytesIO()
    _draw(columns, f"{recipe.name}: {_settings(recipe)}").save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def _of_every_class(order: NDArray[np.int64], dataset: Dataset, count: int) -> NDArray[np.int64]:
    """The first `count` rows when the classes take turns, then class by class.

    `mix` pairs from both ends, so that a photo is seen mixed with another class.
    """
    taken: Counter[int] = Counter()
    turns = []
    for row in order.tolist():
        label = dataset.labels[row]
        turns.append((taken[label], label, row))
        taken[label] += 1
    chosen = sorted(turns)[:count]
    return np.asarray([row for _, _, row in sorted(chosen, key=lambda turn: turn[1])], np.int64)


def _changed(photos: NDArray[np.uint8], recipe: Recipe, version: int) -> tuple[Any, Any]:
    seed = tf.constant([recipe.train.seed, version], tf.int32)
    pixels, share = augment(tf.cast(photos, tf.float32), recipe.augment, seed), None
    if recipe.augment.mixup:
        pixels, share = mix(pixels, recipe.augment.mixup, seed)
    rounded = tf.cast(tf.round(tf.clip_by_value(pixels, 0.0, 255.0)), tf.uint8)
    return rounded.numpy(), None if share is None else share.numpy()


def _captions(names: Sequence[str], share: NDArray[np.float32] | None) -> list[str]:
    if share is None:
        return list(names)
    pairs = zip(names, reversed(names), share, strict=True)
    return [f"{own:.0%} {name}, {1 - own:.0%} {other}" for name, other, own in pairs]


def _settings(recipe: Recipe) -> str:
    section = recipe.section("augment").items()
    changes = [key if value is True else f"{key} {value:g}" for key, value in section if value]
    return ", ".join(changes) or "no augmentation"


def _draw(columns: Sequence[tuple[NDArray[np.uint8], Sequence[str]]], title: str) -> Image.Image:
    count, size = columns[0][0].shape[:2]
    # Small photos are enlarged by whole pixels, so that what is seen is what is there.
    side = size * max(1, -(-_LEAST_SIDE // size))
    step, line = side + _GAP, side + _CAPTION + _GAP
    sheet = Image.new("RGB", (_GAP + step * len(columns), _CAPTION * 2 + line * count), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    pen.text((_GAP, 2), plain(title), _INK, font)
    for column, (photos, captions) in enumerate(columns):
        left = _GAP + column * step
        heading = "photo" if column == 0 else f"version {column}"
        pen.text((left, _CAPTION), heading, _INK, font)
        for row, (photo, caption) in enumerate(zip(photos, captions, strict=True)):
            top = 2 * _CAPTION + row * line
            cell = Image.fromarray(photo).resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(cell, (left, top))
            pen.text((left, top + side + 1), _fit(caption, font, side), _INK, font)
    return sheet


def _fit(text: str, font: Any, width: int) -> str:
    """The text cut to `width` pixels; of a name the end tells most."""
    text = plain(text)
    while len(text) > 2 and font.getlength(text) > width:
        middle = len(text) // 2
        text = f"{text[: middle - 1]}…{text[middle + 1 :]}"
    return text
