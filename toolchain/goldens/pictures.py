"""The pictures of the goldens: drawn, because photos of a user's own must not travel with a model.

Each shows one thing that clients get wrong. They are drawn from a seed, so that a few versions of
each can be tried (see `write`).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw

_ORIENTATION: Final = 0x0112
_TURNED, _MIRRORED = 6, 2
# 4:2:0 as cameras write it; libjpeg's number for it, and for 4:4:4.
_HALF_COLOUR, _FULL_COLOUR = 2, 0


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to be.

    Attributes:
      file: its name.
      shows: what a client must get right with it.
      draw: (seeded generator, side of a square photo that is not resized) -> the bytes of the file.
    """

    file: str
    shows: str
    draw: Callable[[np.random.Generator, int], bytes]


def _scene(random: np.random.Generator, width: int, height: int) -> Image.Image:
    """Soft colours with hard-edged shapes on them, RGB."""
    coarse = random.integers(0, 256, (5, 5, 3), np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        left, top = random.uniform(0, 0.8, 2) * (width, height)
        wide, high = random.uniform(0.1, 0.5, 2) * (width, height)
        box = (left, top, left + wide, top + high)
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        (draw.ellipse if random.random() < 0.5 else draw.rectangle)(box, fill=colour)
    return image


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _jpeg(image: Image.Image, orientation: int = 1, subsampling: int = _FULL_COLOUR) -> bytes:
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    return _encoded(image, "JPEG", quality=92, subsampling=subsampling, exif=exif)


def _photo(random: np.random.Generator, size: int) -> bytes:
    return _jpeg(_scene(random, 2 * size, 3 * size // 2), subsampling=_HALF_COLOUR)


def _turned(random: np.random.Generator, size: int) -> bytes:
    return _jpeg(_scene(random, 2 * size, 3 * size // 2), _TURNED)


def _mirrored(random: np.random.Generator, size: int) -> bytes:
    return _jpeg(_scene(random, 3 * size // 2, 2 * size), _MIRRORED)


def _grey(random: np.random.Generator, size: int) -> bytes:
    return _jpeg(_scene(random, 2 * size, 2 * size).convert("L"))


def _deep(random: np.random.Generator, size: int) -> bytes:
    grey = np.asarray(_scene(random, 3 * size // 2, 3 * size // 2).convert("L"), np.uint16)
    return _encoded(Image.fromarray(grey * 256 + 255 - grey), "PNG")


def _transparent(random: np.random.Generator, size: int) -> bytes:
    image = _scene(random, 2 * size, 2 * size)
    image.putalpha(_scene(random, 2 * size, 2 * size).convert("L"))
    return _encoded(image, "PNG")


def _palette(random: np.random.Generator, size: int) -> bytes:
    return _encoded(_scene(random, 2 * size, 2 * size).quantize(32), "PNG")


def _wide(random: np.random.Generator, size: int) -> bytes:
    return _encoded(_scene(random, 3 * size, size), "PNG")


def _tall(random: np.random.Generator, size: int) -> bytes:
    return _jpeg(_scene(random, size, 5 * size // 2))


def _sharp(random: np.random.Generator, size: int) -> bytes:
    """Stripes one pixel wide over a scene: they fade with antialias, and swim without."""
    side = 3 * size + 1
    pixels = np.array(_scene(random, side, side))
    pixels[::2, : side // 2] = 0
    pixels[:, side // 2 :: 2] = 255
    return _encoded(Image.fromarray(pixels), "PNG")


def _exact(random: np.random.Generator, size: int) -> bytes:
    return _encoded(_scene(random, size, size), "PNG")


def _small(random: np.random.Generator, size: int) -> bytes:
    side = max(2, size // 3)
    return _encoded(_scene(random, side, side), "PNG")


PICTURES: Final = (
    Picture("01-photo.jpg", "a JPEG as cameras write it", _photo),
    Picture("02-turned.jpg", "EXIF orientation 6, turned by a quarter", _turned),
    Picture("03-mirrored.jpg", "EXIF orientation 2, mirrored", _mirrored),
    Picture("04-grey.jpg", "one channel", _grey),
    Picture("05-grey16.png", "one channel of 16 bits", _deep),
    Picture("06-transparent.png", "transparency, laid on white", _transparent),
    Picture("07-palette.png", "a palette of 32 colours", _palette),
    Picture("08-wide.png", "three times as wide as high, stretched", _wide),
    Picture("09-tall.jpg", "higher than wide, stretched", _tall),
    Picture("10-sharp.png", "stripes of one pixel, antialiased", _sharp),
    Picture("11-exact.png", "of the network's size, not resized", _exact),
    Picture("12-small.png", "smaller than the network's input, enlarged", _small),
)
