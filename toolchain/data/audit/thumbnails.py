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
from toolchain.images.decode import open_rgb

SIDE: Final = 160  # twice what the page shows, for screens with two pixels a point
_QUALITY: Final = 70


def thumbnails(source: Source, names: Set[str]) -> dict[str, str]:
    """Name -> data: URI of a JPEG of at most SIDE pixels; "" where nothing can be decoded."""
    return dict(in_threads(read_some(source, names), _thumbnail))


def _thumbnail(name: str, data: bytes) -> tuple[str, str]:
    try:
        image = open_rgb(data, name, draft=(SIDE, SIDE))
    except ImageError:
        return name, ""
    if max(image.size) > SIDE:
        image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return name, "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
