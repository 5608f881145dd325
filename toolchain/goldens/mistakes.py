"""What clients get wrong between the bytes of an image and the input of a model.

Each mistake is made here on purpose: a client whose pixels or answers are those of a mistake has
made it, and can be told its name.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from toolchain.images.decode import open_rgb
from toolchain.images.preprocess import MEAN_STD, Frame, Preprocessing

Pixels = NDArray[np.uint8]
_BILINEAR: Final = Image.Resampling.BILINEAR


@dataclass(frozen=True, slots=True)
class PixelMistake:
    """A mistake that gives other pixels.

    Attributes:
      step: where it is made: "decode", "resize" or "colour order".
      what: in a few words.
      make: (bytes of the image file, frame) -> uint8 [size, size, 3].
    """

    step: str
    what: str
    make: Callable[[bytes, Frame], Pixels]


def _resized(image: Image.Image, frame: Frame, kernel: Image.Resampling = _BILINEAR) -> Pixels:
    return np.asarray(frame.middle(image).resize((frame.size, frame.size), kernel))


def _rgb(data: bytes) -> Image.Image:
    return open_rgb(data, "golden image")


def _stored(data: bytes) -> Image.Image:
    """As it lies in the file: not turned, transparency not laid on anything."""
    return Image.open(io.BytesIO(data))


def _sampled(data: bytes, frame: Frame) -> Pixels:
    """Bilinear between the four nearest pixels, as cv2.resize and most GPU code do."""
    image, side = frame.middle(_rgb(data)), (frame.size, frame.size)
    steps = (image.width / frame.size, 0, 0, 0, image.height / frame.size, 0)
    return np.asarray(image.transform(side, Image.Transform.AFFINE, steps, _BILINEAR))


def _square(data: bytes, frame: Frame) -> Pixels:
    """The aspect ratio kept by cutting more of the longer side."""
    side = (frame.size, frame.size)
    return np.asarray(ImageOps.fit(frame.middle(_rgb(data)), side, _BILINEAR))


def _padded(data: bytes, frame: Frame) -> Pixels:
    side = (frame.size, frame.size)
    return np.asarray(ImageOps.pad(frame.middle(_rgb(data)), side, _BILINEAR))


def _one_larger(data: bytes, frame: Frame) -> Pixels:
    larger = Frame(frame.size + 1, frame.crop)
    return _resized(_rgb(data), larger)[: frame.size, : frame.size]


PIXEL_MISTAKES: Final = (
    PixelMistake(
        "decode",
        "the EXIF orientation is not applied",
        lambda data, frame: _resized(_stored(data).convert("RGB"), frame),
    ),
    PixelMistake(
        "decode",
        "colours are made grey",
        lambda data, frame: _resized(_rgb(data).convert("L").convert("RGB"), frame),
    ),
    PixelMistake(
        "colour order",
        "BGR instead of RGB",
        lambda data, frame: _resized(_rgb(data), frame)[..., ::-1],
    ),
    PixelMistake("resize", "bilinear without antialias", _sampled),
    PixelMistake(
        "resize",
        "nearest neighbour instead of bilinear",
        lambda data, frame: _resized(_rgb(data), frame, Image.Resampling.NEAREST),
    ),
    PixelMistake(
        "resize",
        "bicubic instead of bilinear",
        lambda data, frame: _resized(_rgb(data), frame, Image.Resampling.BICUBIC),
    ),
    PixelMistake("resize", "cropped to a square instead of stretched", _square),
    PixelMistake("resize", "padded to a square instead of stretched", _padded),
    PixelMistake("resize", "resized to one pixel too many, then cut", _one_larger),
)
_WHOLE: Final = PixelMistake(
    "resize",
    "the whole photo is taken instead of its middle",
    lambda data, frame: _resized(_rgb(data), Frame(frame.size)),
)


def pixel_mistakes(frame: Frame) -> tuple[PixelMistake, ...]:
    """The mistakes that can be made with such a frame: of a whole photo nothing is left out."""
    return (*PIXEL_MISTAKES, _WHOLE) if frame.crop < 1 else PIXEL_MISTAKES


def wrong_normalisations(right: Preprocessing) -> dict[str, Preprocessing]:
    """What a client may take for the normalisation, in words -> how it then normalises."""
    known = {
        "pixels in [0, 255]": (0.0, 1.0),
        "pixels in [0, 1]": MEAN_STD["unit"],
        "pixels in [-1, 1]": (127.5, 127.5),
    }
    return {
        what: dataclasses.replace(right, mean=mean, std=std)
        for what, (mean, std) in known.items()
        if (mean, std) != (right.mean, right.std)
    }


def explain_pixels(images: list[bytes], found: Pixels, frame: Frame) -> PixelMistake | None:
    """The mistake that gives pixels close to those found, uint8 [n, size, size, 3]; None if none.

    Close is a quarter of a grey level on average: decoders and kernels round differently.
    """
    mistakes = pixel_mistakes(frame)
    distances = [
        _distance(found, np.stack([mistake.make(data, frame) for data in images]))
        for mistake in mistakes
    ]
    best = int(np.argmin(distances))
    return mistakes[best] if distances[best] < _CLOSE else None


_CLOSE: Final = 0.25


def _distance(first: Pixels, second: Pixels) -> float:
    return float(np.abs(first.astype(np.int16) - second).mean())
