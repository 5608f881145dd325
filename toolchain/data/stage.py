"""The data stage: decode every image once, split by content, save the Dataset."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toolchain.data.layouts import Item
from toolchain.data.source import Source, open_source
from toolchain.data.split import assign, check
from toolchain.errors import DataError, ImageError
from toolchain.images.preprocess import pixels_of
from toolchain.recipe import Recipe
from toolchain.terminal import say, track
from toolchain.values import PIXELS_FILE, Dataset, Split

# Enough for every thread, and little memory: 512 photos of 1 MB.
_CHUNK: Final = 512

Decoded = tuple[Item, NDArray[np.uint8] | None, str]


def build_dataset(recipe: Recipe, out: Path) -> Dataset:
    """Read the recipe's images into `out`.

    Returns:
      The saved Dataset; its pixels are uint8 [count, size, size, 3] RGB in `out`/pixels.npy.

    Raises:
      DataError: see `source.open_source` and `split.check`; also when images cannot be decoded
        and the recipe does not say `on_bad_image = "skip"`.
    """
    source = open_source(recipe)
    size = int(recipe.input.size or 0)
    items, hashes, skipped = _decode_all(source, size, recipe.data.on_bad_image, out)
    index = {name: position for position, name in enumerate(source.layout.classes)}
    labels = [index[item.class_name] for item in items]
    given: list[Split | None] = [item.split for item in items]
    splits = assign(hashes, labels, given, recipe.data)
    where = recipe.data.path or recipe.data.source
    notes = [f"layout: {source.layout.name}", *_upscale_note(source, size)]
    notes += check(splits, labels, source.layout.classes, where)
    dataset = Dataset(
        folder=out,
        classes=source.layout.classes,
        size=size,
        names=tuple(item.name for item in items),
        labels=tuple(labels),
        splits=tuple(splits),
        sha256=tuple(hashes),
        skipped=tuple(skipped),
        notes=tuple(notes),
    )
    dataset.save()
    _tell(dataset)
    return dataset


def _decode_all(
    source: Source, size: int, on_bad_image: str, out: Path
) -> tuple[list[Item], list[str], list[tuple[str, str]]]:
    count = len(source.layout.items)
    pixels = np.lib.format.open_memmap(
        out / PIXELS_FILE, mode="w+", dtype=np.uint8, shape=(count, size, size, 3)
    )
    items: list[Item] = []
    hashes: list[str] = []
    bad: list[tuple[str, str]] = []
    for item, array, reason in track(_decoded(source, size), "decoding", total=count):
        if array is None:
            bad.append((item.name, reason))
            continue
        pixels[len(items)] = array
        hashes.append(hashlib.sha256(array.tobytes()).hexdigest())
        items.append(item)
    pixels.flush()
    if bad and on_bad_image == "error":
        name, reason = bad[0]
        others = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise DataError(
            f"{reason}{others}", name, 'mend or delete it, or set data.on_bad_image = "skip"'
        )
    if bad:
        _shorten(out, pixels, len(items))
    return items, hashes, bad


def _shorten(out: Path, pixels: NDArray[np.uint8], count: int) -> None:
    """Cut the rows that skipped images left over."""
    aside = out / "pixels.short.npy"
    short = np.lib.format.open_memmap(
        aside, mode="w+", dtype=np.uint8, shape=(count, *pixels.shape[1:])
    )
    for start in range(0, count, _CHUNK):
        short[start : start + _CHUNK] = pixels[start : min(start + _CHUNK, count)]
    short.flush()
    aside.replace(out / PIXELS_FILE)


def _decoded(source: Source, size: int) -> Iterator[Decoded]:
    def decode(pair: tuple[Item, bytes]) -> Decoded:
        item, data = pair
        try:
            return item, pixels_of(data, item.name, size), ""
        except ImageError as error:
            return item, None, error.what

    # Pillow releases the interpreter lock while it decodes and resizes, so threads are enough.
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        pairs = source.read()
        while chunk := list(itertools.islice(pairs, _CHUNK)):
            yield from pool.map(decode, chunk)


def _upscale_note(source: Source, size: int) -> list[str]:
    if source.layout.name != "digits":
        return []
    return [f"8x8 grey digits are enlarged to {size}x{size} and repeated to three channels"]


def _tell(dataset: Dataset) -> None:
    counts = Counter(dataset.splits)
    say(
        f"{len(dataset.names):,} photos in {len(dataset.classes)} classes: "
        f"{counts['train']:,} train, {counts['validation']:,} validation, {counts['test']:,} test"
    )
    for note in dataset.notes:
        say(f"  {note}")
    for name, reason in dataset.skipped[:5]:
        say(f"  left out {name}: {reason}")
    if len(dataset.skipped) > 5:
        say(f"  left out {len(dataset.skipped) - 5:,} more, listed in dataset.json")
