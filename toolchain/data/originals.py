"""What the photos were before they were resized: said aloud when small or grey ones are changed."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator
from typing import Final

import numpy as np

from toolchain.columns import Index
from toolchain.data.containers import FolderContainer
from toolchain.data.sources.base import ContainerSource, Source
from toolchain.images.header import Header, read_header
from toolchain.images.preprocess import Frame

# Reading the headers of so many takes milliseconds; the first ones, since an archive of millions
# is read from its front.
_PROBE: Final = 64
_GREY: Final = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L"})


def changes(source: Source, frame: Frame) -> list[str]:
    """One sentence on enlarging and one on grey, where the first photos are so."""
    photos = itertools.islice(_read(source), _PROBE)
    headers = [header for _, data in photos if (header := read_header(data))]
    return _notes(headers, frame) if headers else []


def _read(source: Source) -> Iterator[tuple[object, bytes]]:
    if isinstance(source, ContainerSource) and isinstance(source.container, FolderContainer):
        names = source.layout.items.names
        # An index of a million names is not needed for the first few of a folder.
        return source.container.read(Index(names.take(np.arange(min(_PROBE, len(names))))).keys())
    return source.read()


def _notes(headers: list[Header], frame: Frame) -> list[str]:
    notes = []
    width = round(statistics.median(header.width for header in headers))
    height = round(statistics.median(header.height for header in headers))
    if min(width, height) < frame.whole():
        notes.append(
            f"photos of {width}x{height} pixels (median of the first {len(headers)}) "
            f"are enlarged to {frame.size}x{frame.size}"
        )
    if all(header.mode in _GREY for header in headers):
        notes.append("grey photos are repeated to three channels")
    return notes
