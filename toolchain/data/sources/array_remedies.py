"""What to type so that arrays become those that a `.npz` is read with."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

# Read of an array to see its values: the first images.
SAMPLE_BYTES: Final = 16 * 1024 * 1024


def images_remedy(shape: tuple[int, ...], dtype: np.dtype[Any], data: bytes) -> str:
    """One expression in NumPy that turns such images into uint8 [n, h, w] or [n, h, w, 3].

    Args:
      shape, dtype: of the array.
      data: its first `SAMPLE_BYTES`.
    """
    images = "images"
    if len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3):
        images += ".transpose(0, 2, 3, 1)"
    elif len(shape) == 4 and shape[3] == 4:
        images += "[..., :3]"
    return f"convert it: np.ascontiguousarray({_scaled(images, dtype, data)})"


def _scaled(images: str, dtype: np.dtype[Any], data: bytes) -> str:
    if dtype == np.uint8:
        return images
    if dtype.kind == "b":
        return f"{images} * np.uint8(255)"
    if dtype.kind not in "fiu":
        return f"{images}.astype(np.uint8)"
    whole = len(data) // dtype.itemsize * dtype.itemsize
    values = np.frombuffer(data[:whole], dtype)
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    if dtype.kind == "f" and 0 < high <= 1:
        scaled = f"({images} * 255)" if low >= 0 else f"(({images} + 1) * 127.5)"
        return f"{scaled}.round().clip(0, 255).astype(np.uint8)"
    if dtype.kind == "u" and high > 255:
        return f"({images} >> {8 * (dtype.itemsize - 1)}).astype(np.uint8)"
    rounded = f"{images}.round()" if dtype.kind == "f" else images
    return f"{rounded}.clip(0, 255).astype(np.uint8)"


def labels_remedy(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    """One expression in NumPy that turns such labels into one whole number each."""
    if len(shape) == 2 and shape[1] > 1 and dtype.kind in "biuf":
        return "where each row marks one class: labels = labels.argmax(axis=1)"
    return "labels = labels.astype(int)" if dtype.kind in "fc" else ""
