"""Pixels -> small pictures that stand inside the page as data: URIs, plain or under a heat map."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from toolchain.evidence import Heatmaps
from toolchain.images.stored import Pixels

# Twice the width that the page gives them, for screens with two pixels a point.
SIDE: Final = 192
_QUALITY: Final = 78
# Where the network did not look the photo is dimmed to this share and turned to grey; no colour is
# laid over it, so that what it did look at is seen as it is.
_DIMMED: Final = 0.3


@dataclass(frozen=True, slots=True)
class Pictures:
    """Position in the Dataset -> data: URI of a JPEG.

    Attributes:
      photos: as the network got them.
      heat: the same, bright where the network looked.
    """

    photos: dict[int, str] = field(default_factory=dict)
    heat: dict[int, str] = field(default_factory=dict)


def make_pictures(rows: Sequence[int], heatmaps: Heatmaps | None, pixels: Pixels) -> Pictures:
    """Pictures of these photos, and of those that have a heat map.

    Args:
      pixels: of the whole Dataset.
    """
    photos = {row: _uri(_enlarged(pixels[row])) for row in rows}
    heat = {}
    if heatmaps is not None:
        for row, one in zip(heatmaps.rows.tolist(), heatmaps.maps, strict=True):
            photo = _enlarged(pixels[row])
            photos[row] = _uri(photo)
            heat[row] = _uri(_lit(photo, one))
    return Pictures(photos, heat)


def _enlarged(pixels: NDArray[np.uint8]) -> Image.Image:
    small = pixels.shape[0] < SIDE / 2
    # Digits of 48 pixels are shown as they are, in squares; photos are smoothed.
    kernel = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
    return Image.fromarray(pixels).resize((SIDE, SIDE), kernel)


def _lit(photo: Image.Image, heat: NDArray[np.float32]) -> Image.Image:
    light = Image.fromarray(heat).resize(photo.size, Image.Resampling.BICUBIC)
    share = np.clip(np.asarray(light, np.float32), 0, 1)[:, :, None]
    colours = np.asarray(photo, np.float32)
    grey = _DIMMED * colours.mean(axis=2, keepdims=True)
    return Image.fromarray((share * colours + (1 - share) * grey).round().astype(np.uint8))


def _uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
