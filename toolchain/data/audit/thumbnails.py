"""Small pictures of the images that findings name, as data: URIs that stand inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Set
from typing import Final

from toolchain.data.access import read_some
from toolchain.data.parallel import in_threads
from toolchain.data.sources.base import Source
from toolchain.errors import ImageError
from toolchain.images.decode import held_rgb

SIDE: Final = 160  # twice what the page shows, for screens with two pixels a point
_QUALITY: Final = 70


def thumbnails(source: Source, names: Set[str]) -> dict[str, str]:
    """Name -> data: URI of a JPEG of at most SIDE pixels; "" where nothing can be decoded."""
    return dict(in_threads(read_some(source, names), _thumbnail))


def _thumbnail(name: str, data: bytes) -> tuple[str, str]:
    buffer = io.BytesIO()
    try:
        with held_rgb(data, name, draft=(SIDE, SIDE)) as image:
            if max(image.size) > SIDE:
                image.thumbnail((SIDE, SIDE))
            image.save(buffer, "JPEG", quality=_QUALITY)
    except ImageError:
        return name, ""
    return name, "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
