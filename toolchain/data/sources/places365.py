"""Places365 as it is published: two lists, and all photos in one flat folder.

`places365_val.txt` has `Places365_val_00000001.jpg 165` a line and `categories_places365.txt` has
`/a/airfield 0`. Lists and photos may lie in different folders of the same place.
B. Zhou et al.: Places: A 10 Million Image Database for Scene Recognition, TPAMI 2017.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from toolchain.data.sources.base import ContainerSource, Layout, Place, check_classes
from toolchain.data.sources.items import Item, Items
from toolchain.errors import DataError

IMAGES: Final = "places365_val.txt"
CATEGORIES: Final = "categories_places365.txt"
_CATEGORY: Final = re.compile(r"/[a-z]/(\S+) (\d{1,9})")
_IMAGE: Final = re.compile(r"([^/\\\s]+) (\d{1,9})")


def find(place: Place) -> ContainerSource | None:
    """The listed photos, or None where one of the lists is not there.

    Raises:
      DataError: a line of another form, an unknown category, a photo of two names, none at all.
    """
    lists = {name.rsplit("/", 1)[-1]: name for name in place.files(".txt")}
    if IMAGES not in lists or CATEGORIES not in lists:
        return None
    categories = _categories(place, lists[CATEGORIES])
    there = _by_file_name(place)
    items: list[Item] = []
    missing: list[str] = []
    for line, (file, number) in _lines(place, lists[IMAGES], _IMAGE):
        if number not in categories:
            raise DataError(
                f"line {line} has category {number}, which {CATEGORIES} does not list",
                place.where(lists[IMAGES]),
            )
        if file in there:
            items.append(Item(there[file], categories[number]))
        else:
            missing.append(file)
    filled = {item.class_name for item in items}
    classes = tuple(name for _, name in sorted(categories.items()) if name in filled)
    check_classes(classes, str(place.path), f"put the photos that {IMAGES} lists beside it")
    notes = _notes(len(there) - len(items), len(categories) - len(classes))
    return ContainerSource(
        place.container,
        Layout("places365", classes, Items.of(items), tuple(notes), tuple(missing)),
    )


def _categories(place: Place, name: str) -> dict[int, str]:
    """Number -> name; the letter folder in front is left out: `/a/arch` is `arch`."""
    return {number: text for _, (text, number) in _lines(place, name, _CATEGORY)}


def _lines(place: Place, name: str, form: re.Pattern[str]) -> Iterator[tuple[int, tuple[str, int]]]:
    seen: dict[str, int] = {}
    for line, text in enumerate(place.text(name).splitlines(), start=1):
        if not text.strip():
            continue
        match = form.fullmatch(text.strip())
        if match is None:
            raise DataError(
                f"line {line}: expected `name number`, received {text[:60]!r}", place.where(name)
            )
        if match[1] in seen:
            raise DataError(
                f"lines {seen[match[1]]} and {line} both name {match[1]}", place.where(name)
            )
        seen[match[1]] = line
        yield line, (match[1], int(match[2]))


def _by_file_name(place: Place) -> dict[str, str]:
    there: dict[str, str] = {}
    for name in place.images():
        file = name.rsplit("/", 1)[-1]
        if file in there:
            raise DataError(
                f"two photos have the listed name: {there[file]} and {name}",
                str(place.path),
                "keep one folder of photos",
            )
        there[file] = name
    return there


def _notes(unlisted: int, empty: int) -> Sequence[str]:
    notes = []
    if unlisted:
        notes.append(f"{unlisted:,} photos are not in {IMAGES} and are left out")
    if empty:
        notes.append(f"{empty:,} categories have no photos and are left out")
    return notes
