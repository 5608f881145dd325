"""What clients get wrong between the bytes of an image and the input of a model.

Each mistake is made here on purpose: a client whose pixels or answers are those of a mistake has
made it, and can be told its name.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from toolchain.images.decode import open_rgb
from toolchain.images.preprocess import MEAN_STD, Preprocessing

Pixels = NDArray[np.uint8]
_BILINEAR: Final = Image.Resampling.BILINEAR


@dataclass(frozen=True, slots=True)
class PixelMistake:
    """A mistake that gives other pixels.

    Attributes:
      step: where it is made: "decode", "resize" or "colour order".
      what: in a few words.
      make: (bytes of the image file, size) -> uint8 [size, size, 3].
    """

    step: str
    what: str
    make: Callable[[bytes, int], Pixels]


def _resized(image: Image.Image, size: int) -> Pixels:
    return np.asarray(image.resize((size, size), _BILINEAR))


def _rgb(data: bytes) -> Image.Image:
    return open_rgb(data, "golden image")


def _stored(data: bytes) -> Image.Image:
    """As it lies in the file: not turned, transparency not laid on anything."""
    return Image.open(io.BytesIO(data))


def _sampled(data: bytes, size: int) -> Pixels:
    """Bilinear between the four nearest pixels, as cv2.resize and most GPU code do."""
    image = _rgb(data)
    steps = (image.width / size, 0, 0, 0, image.height / size, 0)
    return np.asarray(image.transform((size, size), Image.Transform.AFFINE, steps, _BILINEAR))


def _one_larger(data: bytes, size: int) -> Pixels:
    return _resized(_rgb(data), size + 1)[:size, :size]


PIXEL_MISTAKES: Final = (
    PixelMistake(
        "decode",
        "the EXIF orientation is not applied",
        lambda data, size: _resized(_stored(data).convert("RGB"), size),
    ),
    PixelMistake(
        "decode",
        "colours are made grey",
        lambda data, size: _resized(_rgb(data).convert("L").convert("RGB"), size),
    ),
    PixelMistake(
        "colour order",
        "BGR instead of RGB",
        lambda data, size: _resized(_rgb(data), size)[..., ::-1],
    ),
    PixelMistake("resize", "bilinear without antialias", _sampled),
    PixelMistake(
        "resize",
        "nearest neighbour instead of bilinear",
        lambda data, size: np.asarray(_rgb(data).resize((size, size), Image.Resampling.NEAREST)),
    ),
    PixelMistake(
        "resize",
        "bicubic instead of bilinear",
        lambda data, size: np.asarray(_rgb(data).resize((size, size), Image.Resampling.BICUBIC)),
    ),
    PixelMistake(
        "resize",
        "the middle is cropped instead of the whole stretched",
        lambda data, size: np.asarray(ImageOps.fit(_rgb(data), (size, size), _BILINEAR)),
    ),
    PixelMistake(
        "resize",
        "padded to a square instead of stretched",
        lambda data, size: np.asarray(ImageOps.pad(_rgb(data), (size, size), _BILINEAR)),
    ),
    PixelMistake("resize", "resized to one pixel too many, then cut", _one_larger),
)


def wrong_normalisations(right: Preprocessing) -> dict[str, Preprocessing]:
    """What a client may take for the normalisation, in words -> how it then normalises."""
    known = {
        "pixels in [0, 255]": (0.0, 1.0),
        "pixels in [0, 1]": MEAN_STD["unit"],
        "pixels in [-1, 1]": (127.5, 127.5),
    }
    return {
        what: Preprocessing(right.size, mean, std)
        for what, (mean, std) in known.items()
        if (mean, std) != (right.mean, right.std)
    }


def explain_pixels(images: list[bytes], found: Pixels) -> PixelMistake | None:
    """The mistake that gives pixels close to those found, uint8 [n, size, size, 3]; None if none.

    Close is a quarter of a grey level on average: decoders and kernels round differently.
    """
    size = found.shape[1]
    distances = [
        _distance(found, np.stack([mistake.make(data, size) for data in images]))
        for mistake in PIXEL_MISTAKES
    ]
    best = int(np.argmin(distances))
    return PIXEL_MISTAKES[best] if distances[best] < _CLOSE else None


_CLOSE: Final = 0.25


def _distance(first: Pixels, second: Pixels) -> float:
    return float(np.abs(first.astype(np.int16) - second).mean())
