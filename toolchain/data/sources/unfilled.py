"""Folders that stand where class folders or splits stand, and hold no photo that is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from toolchain.data.containers import Entry
from toolchain.data.entries import folder_of, is_hidden
from toolchain.data.sources.aside import REMEDY, told, unread
from toolchain.data.sources.split_names import split_of
from toolchain.errors import DataError

# What systems leave in a folder that is empty to a person.
_NOTHING: Final = frozenset({".ds_store", "thumbs.db", "desktop.ini", ".gitkeep", ".keep"})
# More folders of other things than these are told in one sentence.
_SHOWN: Final = 5


def told_aside(
    entries: Iterable[Entry],
    links: Iterable[str],
    files: Sequence[str],
    parents: Sequence[str],
    where: str,
) -> list[str]:
    """What to say of class folders without photos: that they hold other things.

    Args:
      entries: files and folders.
      links: names of links.
      files: names of the photos.
      parents: folders, as "a/b/" or "", whose folders are classes.
      where: what to call the place in an error.

    Raises:
      DataError: one is empty, or holds what may be the photos of a class and is not read.
    """
    notes = []
    for folder, (kinds, is_empty) in _looked_into(entries, links, files, parents).items():
        shown = _shown(folder, parents)
        if kinds:
            raise _unread(f"the class folder {shown!r}", kinds, where)
        if is_empty:
            raise DataError(
                f"the class folder {shown!r} holds no photos", where, "fill or delete it"
            )
        notes.append(f"{shown}/ holds no photos and is left aside")
    if len(notes) <= _SHOWN:
        return notes
    names = ", ".join(note.partition(" ")[0] for note in notes[:_SHOWN])
    return [f"{len(notes):,} folders without photos are left aside, such as {names}"]


def told_splits(
    entries: Iterable[Entry],
    links: Iterable[str],
    files: Sequence[str],
    parents: Sequence[str],
    where: str,
) -> list[str]:
    """What to say of folders named as splits that stand beside those with photos, and have none.

    Args:
      entries, links, files, where: see `told_aside`.
      parents: folders whose folders are splits.

    Raises:
      DataError: one holds what may be its photos and is not read.
    """
    notes: list[str] = []
    if not parents:
        return notes
    for folder, (kinds, _) in _looked_into(entries, links, files, parents).items():
        if split_of(folder.rpartition("/")[2]) is None:
            continue
        if kinds:
            raise _unread(f"{folder}/", kinds, where)
        notes.append(f"{folder}/ holds no photos: a share of the others takes its place")
    return notes


def _unread(what: str, kinds: Counter[str], where: str) -> DataError:
    return DataError(f"{what} holds no photos but {told(kinds)}, which are not read", where, REMEDY)


def _looked_into(
    entries: Iterable[Entry], links: Iterable[str], files: Sequence[str], parents: Sequence[str]
) -> dict[str, tuple[Counter[str], bool]]:
    """Folder without photos -> what in it may be photos, and whether it is empty to a person.

    In passes over all names, so that many such folders take no more time than one.
    """
    kinds = {folder: Counter[str]() for folder in _unfilled(entries, files, parents)}
    filled = set()
    for entry in entries if kinds else ():
        if not entry.is_folder and (folder := _within(entry.name, parents, kinds)):
            kinds[folder].update(unread((entry,)))
            if entry.name.rpartition("/")[2].lower() not in _NOTHING:
                filled.add(folder)
    for name in links if kinds else ():
        if folder := _within(f"{name}/", parents, kinds):
            kinds[folder].update(unread((), (name,)))
    return {folder: (found, folder not in filled) for folder, found in kinds.items()}


def _unfilled(
    entries: Iterable[Entry], files: Sequence[str], parents: Sequence[str]
) -> Sequence[str]:
    """The folders directly below `parents` that hold no photo; sorted."""
    empty = {
        entry.name
        for entry in entries
        if entry.is_folder and folder_of(entry.name) in parents and not is_hidden(entry.name)
    }
    for name in files if empty else ():
        for parent in parents:
            if name.startswith(parent):
                empty.discard(name[: name.find("/", len(parent))])
    return sorted(empty)


def _within(name: str, parents: Sequence[str], folders: Collection[str]) -> str:
    """That of the folders, which lie directly below `parents`, in which a file lies; or ""."""
    for parent in parents:
        if name.startswith(parent):
            folder = name[: name.find("/", len(parent))]
            if folder in folders:
                return folder
    return ""


def _shown(folder: str, parents: Sequence[str]) -> str:
    """The folder as its class is called, with that of the split where there are several."""
    parent = folder_of(folder)
    above = parent.rstrip("/").rpartition("/")[2] if len(parents) > 1 else ""
    return f"{above}/{folder[len(parent) :]}" if above else folder[len(parent) :]
