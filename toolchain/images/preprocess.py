"""Crop, resize and normalise: all that stands between a photo and the first layer.

The same `Preprocessing` value is used to fill the training cache, travels inside every exported
file, and is applied by `predict`, verification and benchmark.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from toolchain.images.decode import open_rgb, to_array

MEAN_STD: Final[dict[str, tuple[float, float]]] = {
    # (pixel - mean) / std, the same for the three channels, so that a uint8 input of a quantized
    # model is the raw RGB byte. `caffe`: VGG16's own BGR means (103.939, 116.779, 123.68) are
    # folded into its first convolution when the weights are loaded (training/weights.py).
    # Every mean is a whole byte: 8 bits hold zero exactly, so with mean 127.5 every pixel lies
    # between two steps of the quantized input, and bytes in and floats in are not the same model.
    # `symmetric` is Keras' [-1, 1] for MobileNetV2, darker by half a byte.
    "symmetric": (128.0, 127.5),
    "unit": (0.0, 255.0),
    "caffe": (115.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class Frame:
    """What a network sees of an upright photo: its middle, as a square.

    Attributes:
      size: width and height in pixels after the resize.
      crop: share of the width and of the height that is kept, 0.1..1; 1 keeps the whole photo.
    """

    size: int
    crop: float = 1.0

    def edge(self, side: int) -> int:
        """Pixels of a side of so many that are cut off at each of its two ends."""
        # Where floating point falls short of a whole number, that number is meant.
        return int(side * (1 - self.crop) / 2 + 1e-6)

    def whole(self) -> int:
        """The smallest side whose kept middle is `size` long."""
        return next(side for side in itertools.count(self.size) if self._kept(side) == self.size)

    def fits(self, width: int, height: int) -> bool:
        """Whether the kept middle of such a photo is not resized."""
        return self._kept(width) == self._kept(height) == self.size

    def middle(self, image: Image.Image) -> Image.Image:
        """The part of an image that is kept, not yet resized."""
        across, down = self.edge(image.width), self.edge(image.height)
        if not across and not down:
            return image
        return image.crop((across, down, image.width - across, image.height - down))

    def _kept(self, side: int) -> int:
        return side - 2 * self.edge(side)


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """From decoded pixels to the network's input.

    Attributes:
      size: width and height in pixels after the resize.
      mean: subtracted from every RGB value (0..255).
      std: what the difference is divided by.
      crop: share of width and height that is kept around the middle, before the resize.
      channels: colour order of the last axis; always "RGB".
      resize: "stretch" both sides to `size`, the aspect ratio is not kept.
      kernel: "bilinear" with antialias, as Pillow's BILINEAR.
    """

    size: int
    mean: float
    std: float
    crop: float = 1.0
    channels: str = "RGB"
    resize: str = "stretch"
    kernel: str = "bilinear-antialias"

    @staticmethod
    def of(pixels: str, size: int, crop: float = 1.0) -> Preprocessing:
        """The preprocessing named `pixels` (a key of `MEAN_STD`) of the middle at `size`."""
        mean, std = MEAN_STD[pixels]
        return Preprocessing(size=size, mean=mean, std=std, crop=crop)

    @property
    def frame(self) -> Frame:
        """What is kept of a photo and how large it becomes."""
        return Frame(self.size, self.crop)

    def to_json(self) -> dict[str, Any]:
        """Plain data, the form inside contract.json."""
        return {
            "size": self.size,
            "mean": self.mean,
            "std": self.std,
            "crop": self.crop,
            "channels": self.channels,
            "resize": self.resize,
            "kernel": self.kernel,
        }


def resize(image: Image.Image, frame: Frame) -> NDArray[np.uint8]:
    """The middle of a Pillow RGB image stretched to uint8 [size, size, 3], with antialias."""
    middle, side = frame.middle(image), (frame.size, frame.size)
    if middle.size == side:
        return to_array(middle)
    return to_array(middle.resize(side, Image.Resampling.BILINEAR, reducing_gap=None))


def pixels_of(data: bytes, name: str, frame: Frame) -> NDArray[np.uint8]:
    """The bytes of an image file as uint8 [size, size, 3] RGB.

    Raises:
      ImageError: see `decode.open_rgb`.
    """
    return resize(open_rgb(data, name), frame)


def normalise(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """uint8 [..., 3] in 0..255 to float32 of the same shape: (pixel - mean) / std."""
    mean, std = np.float32(preprocessing.mean), np.float32(preprocessing.std)
    return (pixels.astype(np.float32) - mean) / std
