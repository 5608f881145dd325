"""Resize and normalise: what stands between a photo and the first layer, and nothing else does.

The same `Preprocessing` value is used to fill the training cache, travels inside every exported
file, and is applied by `predict`, verification and benchmark.
"""

from __future__ import annotations

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
class Preprocessing:
    """From decoded pixels to the network's input.

    Attributes:
      size: width and height in pixels after the resize.
      mean: subtracted from every RGB value (0..255).
      std: what the difference is divided by.
      channels: colour order of the last axis; always "RGB".
      resize: "stretch" both sides to `size`, the aspect ratio is not kept.
      kernel: "bilinear" with antialias, as Pillow's BILINEAR.
    """

    size: int
    mean: float
    std: float
    channels: str = "RGB"
    resize: str = "stretch"
    kernel: str = "bilinear-antialias"

    @staticmethod
    def of(pixels: str, size: int) -> Preprocessing:
        """The preprocessing named `pixels` (a key of `MEAN_STD`) at `size`."""
        mean, std = MEAN_STD[pixels]
        return Preprocessing(size=size, mean=mean, std=std)

    def to_json(self) -> dict[str, Any]:
        """Plain data, the form inside contract.json."""
        return {
            "size": self.size,
            "mean": self.mean,
            "std": self.std,
            "channels": self.channels,
            "resize": self.resize,
            "kernel": self.kernel,
        }


def resize(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """A Pillow RGB image stretched to uint8 [size, size, 3], bilinear with antialias."""
    if image.size == (size, size):
        return to_array(image)
    return to_array(image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=None))


def pixels_of(data: bytes, name: str, size: int) -> NDArray[np.uint8]:
    """The bytes of an image file as uint8 [size, size, 3] RGB.

    Raises:
      ImageError: see `decode.open_rgb`.
    """
    return resize(open_rgb(data, name), size)


def normalise(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """uint8 [..., 3] in 0..255 to float32 of the same shape: (pixel - mean) / std."""
    mean, std = np.float32(preprocessing.mean), np.float32(preprocessing.std)
    return (pixels.astype(np.float32) - mean) / std
