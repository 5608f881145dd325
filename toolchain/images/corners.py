"""The resize of MediaPipe's tasks, which clients of a .tflite file may have instead of ours.

Only for measuring what it does to answers. Found with a model whose answer is its input, and held
against MediaPipe itself by tests/clients/test_mediapipe.py; it has no published specification.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Places = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def resize_at_corners(pixels: NDArray[np.uint8], size: int) -> NDArray[np.float64]:
    """uint8 [height, width, 3] stretched to float64 [size, size, 3] in 0..255.

    Each point is taken at its upper left corner, between the four bytes around it: no antialias,
    and half a point further up and left than Pillow and TensorFlow, which take centres.
    """
    height, width, _ = pixels.shape
    (top, below, down), (left, right, across) = _between(height, size), _between(width, size)
    rows = pixels[top] * (1 - down)[:, None, None] + pixels[below] * down[:, None, None]
    mixed: NDArray[np.float64] = (
        rows[:, left] * (1 - across)[None, :, None] + rows[:, right] * across[None, :, None]
    )
    return mixed


def _between(count: int, size: int) -> Places:
    """For each point the two bytes it lies between, and how near it is to the second, 0..1."""
    places = np.arange(size) * count / size
    first = np.floor(places).astype(np.int64)
    return first, np.minimum(first + 1, count - 1), places - first
