"""The data stage: decode every image once, split by content, save the Dataset."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolchain.columns import Hashes, Index, Numbers, Places
from toolchain.data.access import random_access
from toolchain.data.cache import cached, stored_bytes
from toolchain.data.journal import Rows
from toolchain.data.originals import changes
from toolchain.data.selection import select
from toolchain.data.source import fingerprint, open_source
from toolchain.data.sources.base import ContainerSource, Source
from toolchain.data.stream import StreamedPixels
from toolchain.errors import DataError
from toolchain.images.preprocess import Frame
from toolchain.recipe import Recipe
from toolchain.terminal import say
from toolchain.values import Dataset


def build_dataset(recipe: Recipe, out: Path, cache: Path | None = None) -> Dataset:
    """Read the recipe's images into `out`.

    Args:
      recipe: says where they are, their size and how they are split.
      out: gets dataset.json, and pixels.npy unless the recipe's images are streamed.
      cache: holds decoded photos for all recipes; None decodes for this one alone.

    Returns:
      The saved Dataset.

    Raises:
      DataError: see `source.open_source` and `selection.select`; also when images cannot be decoded
        and the recipe does not say `on_bad_image = "skip"`, or cannot be streamed.
      MachineError: there is no room for the decoded photos.
    """
    source, frame = open_source(recipe), _frame(recipe)
    streamed = _is_streamed(source, frame.size, recipe.data.cache_gib)
    whole = _whole(recipe, source, frame.size)
    folder = cache or out / ".cache"
    rows = cached(whole, _stamp(recipe, whole), frame, folder, None if streamed else out)
    if cache is None:
        shutil.rmtree(folder)
    dataset = _dataset(recipe, source, _Decoded.of(source, whole, rows), out, streamed)
    dataset.save()
    _tell(dataset)
    return _with_stream(dataset, source, frame)


def open_dataset(folder: Path, recipe: Recipe) -> Dataset:
    """A saved Dataset whose pixels can be read, streamed ones too.

    Raises:
      ModelError: none is saved there.
      DataError: streamed photos are not there any more.
    """
    dataset = Dataset.load(folder)
    if not dataset.streamed:
        return dataset
    return _with_stream(dataset, open_source(recipe), _frame(recipe))


@dataclass(frozen=True, slots=True)
class _Decoded:
    """What was decoded of a source's images.

    Attributes:
      rows: one of each image, at its position among the source's items.
      places: where each image lies among those that were decoded, int64 [n], ascending.
      whole: whether no others were decoded.
    """

    rows: Rows
    places: Places
    whole: bool

    @staticmethod
    def of(source: Source, whole: Source, rows: Rows) -> _Decoded:
        """Of a source that is `whole`, whose rows these are, or has only some of its images."""
        names, every = source.layout.items.names, whole.layout.items.names
        if len(names) == len(every):
            return _Decoded(rows, np.arange(len(names)), True)
        index = Index(every)
        places = np.fromiter((index[name] for name in names), np.int64, len(names))
        return _Decoded(rows.take(places), places, False)


def _whole(recipe: Recipe, source: Source, size: int) -> Source:
    """The source with the images that the recipe excludes: one cache then serves every list.

    Where that is more than the recipe allows to store, the source as it is.
    """
    if not recipe.data.exclude:
        return source
    data = dataclasses.replace(recipe.data, exclude="", on_bad_image="skip")
    whole = open_source(dataclasses.replace(recipe, data=data))
    return whole if _stored_gib(whole, size) <= recipe.data.cache_gib else source


def _stamp(recipe: Recipe, source: Source) -> str:
    """Changes when one of the source's images does, not with files that lie beside them."""
    if isinstance(source, ContainerSource):
        return source.container.stamp(source.layout.items.names)
    data = dataclasses.replace(recipe.data, exclude="")
    return fingerprint(dataclasses.replace(recipe, data=data))


def _frame(recipe: Recipe) -> Frame:
    return Frame(int(recipe.input.size or 0), recipe.input.crop)


def _with_stream(dataset: Dataset, source: Source, frame: Frame) -> Dataset:
    if not dataset.streamed:
        return dataset
    fetch = random_access(source)
    stream = StreamedPixels(fetch, dataset.names, dataset.sha256, frame)
    return dataclasses.replace(dataset, stream=stream)


def _stored_gib(source: Source, size: int) -> float:
    return stored_bytes(len(source.layout.items), size) / 2**30


def _is_streamed(source: Source, size: int, limit_gib: float) -> bool:
    needed = _stored_gib(source, size)
    if needed <= limit_gib:
        return False
    random_access(source)  # before hours of work, not after
    say(
        f"decoded photos would take {needed:.1f} GiB, data.cache_gib allows {limit_gib:g}: "
        "they are decoded again whenever they are read"
    )
    return True


def _dataset(
    recipe: Recipe, source: Source, decoded: _Decoded, out: Path, streamed: bool
) -> Dataset:
    layout, items, frame = source.layout, source.layout.items, _frame(recipe)
    rows = decoded.rows
    bad = [(items.names[place], rows.reasons[place]) for place in sorted(rows.reasons)]
    if bad and recipe.data.on_bad_image == "error":
        raise _bad_images(bad)
    good = rows.good()
    where = recipe.data.path or recipe.data.source
    pictures = Hashes(rows.picture).take(good)
    chosen = select(items.take(good), pictures, layout.classes, recipe.data, where)
    kept = good[chosen.places]
    notes = (f"layout: {layout.name}", *layout.notes, *changes(source, frame), *chosen.notes)
    return Dataset(
        folder=out,
        classes=layout.classes,
        size=frame.size,
        names=items.names.take(kept),
        labels=chosen.labels,
        splits=chosen.splits,
        sha256=Hashes(rows.sha256).take(kept),
        skipped=(*layout.skipped, *bad, *chosen.skipped),
        notes=notes,
        rows=() if decoded.whole and len(kept) == len(items) else Numbers(decoded.places[kept]),
        streamed=streamed,
    )


def _bad_images(bad: Sequence[tuple[str, str]]) -> DataError:
    name, reason = bad[0]
    others = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    return DataError(
        f"{reason}{others}", name, 'mend or delete it, or set data.on_bad_image = "skip"'
    )


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
