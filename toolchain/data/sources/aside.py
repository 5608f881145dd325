"""Files that look like photos and are not read: counted, so that none is missed unnoticed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from toolchain.data.containers import Entry
from toolchain.data.entries import is_hidden
from toolchain.images.decode import SUFFIXES

# Photos in formats that the decoder does not read.
UNREAD: Final = frozenset(
    {".heic", ".heif", ".avif", ".tif", ".tiff", ".jp2", ".j2k", ".jxl", ".psd", ".tga", ".ico"}
    | {".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2", ".raw", ".dcm"}
    | {".svg", ".exr", ".hdr", ".ppm", ".pgm", ".pbm", ".pnm"}
)
_READ: Final = tuple(SUFFIXES)
# Files without a suffix that people keep beside photos.
_TEXTS: Final = frozenset(
    {"readme", "license", "licence", "copying", "notice", "authors", "changelog", "version"}
    | {"makefile", "dockerfile"}
)
_BARE: Final = "file without a suffix"
_LINK: Final = "link"
REMEDY: Final = "save them as JPEG or PNG, with the suffix; put files in the place of links"


def unread(entries: Iterable[Entry], links: Sequence[str] = ()) -> Counter[str]:
    """Kind -> how many files of it there are.

    Args:
      entries: files and folders.
      links: names of links to photos and folders.
    """
    kinds = (_kind(entry.name) for entry in entries if not entry.is_folder)
    counts = Counter(kind for kind in kinds if kind)
    if shown := sum(not is_hidden(name) for name in links):
        counts[_LINK] = shown
    return counts


def told(counts: Counter[str]) -> str:
    """For example: 30 .heic, 5 .avif and 2 links."""
    order = sorted(counts, key=lambda kind: (kind == _LINK, kind == _BARE, -counts[kind], kind))
    kinds = [f"{counts[kind]:,} {_plural(kind, counts[kind])}" for kind in order]
    return " and ".join(filter(None, (", ".join(kinds[:-1]), kinds[-1])))


def _plural(kind: str, count: int) -> str:
    if count == 1 or kind.startswith("."):
        return kind
    return kind.replace("file", "files") if kind == _BARE else f"{kind}s"


def links_below(folder: Path) -> list[str]:
    """Names of the links to photos and to folders, which are not followed; sorted."""
    return sorted(_links(str(folder)))


def sentence(counts: Counter[str]) -> str:
    """What was left aside, for a layout's notes."""
    return f"left aside, as they are not read: {told(counts)}"


def _links(root: str) -> Iterator[str]:
    # Not by calling itself: folders may be nested deeper than Python's stack.
    waiting = [(root, "")]
    while waiting:
        folder, prefix = waiting.pop()
        try:
            with os.scandir(folder) as inside:
                for entry in inside:
                    name = prefix + entry.name
                    if entry.is_symlink():
                        if _kind(name) or name.lower().endswith(_READ) or entry.is_dir():
                            yield name
                    elif entry.is_dir(follow_symlinks=False):
                        waiting.append((entry.path, f"{name}/"))
        except OSError:  # what cannot be listed is told where the photos are
            continue


def _kind(name: str) -> str | None:
    lower = name.lower()
    if lower.endswith(_READ):
        return None
    file = lower.rpartition("/")[2]
    stem, dot, suffix = file.rpartition(".")
    if not dot:
        return None if file in _TEXTS or is_hidden(name) else _BARE
    return f".{suffix}" if stem and f".{suffix}" in UNREAD and not is_hidden(name) else None
