"""What the photos were before they were resized: said aloud when small or grey ones are changed."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator
from typing import Final

import numpy as np

from toolchain.columns import Index
from toolchain.data.sources.base import ContainerSource, Source
from toolchain.images.header import Header, read_header
from toolchain.images.preprocess import Frame

# Reading the headers of so many takes milliseconds.
_PROBE: Final = 64
_GREY: Final = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L"})


def changes(source: Source, frame: Frame) -> list[str]:
    """One sentence on enlarging and one on grey, where photos are so."""
    headers = [header for data in _read(source) if (header := read_header(data))]
    return _notes(headers, frame) if headers else []


def _read(source: Source) -> Iterator[bytes]:
    """Photos spread over all, as those of one class lie side by side; of an array the first."""
    if not isinstance(source, ContainerSource):
        yield from (data for _, data in itertools.islice(source.read(), _PROBE))
        return
    names = source.layout.items.names
    places = np.unique(np.linspace(0, len(names) - 1, _PROBE).round().astype(np.int64))
    yield from (data for _, data in source.container.read(Index(names.take(places)).keys()))


def _notes(headers: list[Header], frame: Frame) -> list[str]:
    notes = []
    small = [header for header in headers if min(header.width, header.height) < frame.whole()]
    if small:
        width = round(statistics.median(header.width for header in small))
        height = round(statistics.median(header.height for header in small))
        share = len(small) / len(headers)
        some = "" if share == 1 else f", about {share:.0%} of all,"
        notes.append(
            f"photos of {width}x{height} pixels (median of {len(small)} looked at){some} "
            f"are enlarged to {frame.size}x{frame.size}"
        )
    if all(header.mode in _GREY for header in headers):
        notes.append("grey photos are repeated to three channels")
    return notes
