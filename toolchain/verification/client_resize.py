"""What MediaPipe's own resize does to the answers of the .tflite files, on photos as they came."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toolchain.evidence import ClientResize, ResizeEffect
from toolchain.images.corners import resize_at_corners
from toolchain.images.decode import open_rgb, to_array
from toolchain.images.preprocess import Frame, resize
from toolchain.runtimes import IsolatedRunner
from toolchain.verification import metrics
from toolchain.verification.ask import Asked

# Enough to tell 99 % from 95 %, and a few seconds for the slowest backbone.
PHOTOS: Final = 200
Pixels = NDArray[np.uint8]


def client_resize(
    asked: Sequence[Asked], photos: Iterable[tuple[int, bytes]], labels: NDArray[np.int64]
) -> ClientResize | None:
    """Ask each .tflite file once more, about pixels as MediaPipe would make them.

    Args:
      asked: what the files answered about our pixels.
      photos: position in those answers and bytes of each photo; read once, and only where there
        is a .tflite file. One at a time is decoded: large photos would fill the memory together.
      labels: int64 [n], the class of every photo that was asked about.

    Returns:
      None where there is no .tflite file or no photo.

    Raises:
      ImageError: a photo cannot be decoded.
      ModelError: a file cannot be run.
    """
    chosen = [one for one in asked if one.model.contract.format == "tflite"]
    if not chosen:
        return None
    frame = chosen[0].model.contract.preprocessing.frame
    pairs = {place: _both(data, frame) for place, data in photos}
    if not pairs:
        return None
    places = np.asarray(sorted(pairs), np.int64)
    ours, theirs = (np.stack([pairs[int(place)][side] for place in places]) for side in (0, 1))
    return ClientResize(
        photos=len(places),
        byte_difference=float(np.abs(ours.astype(np.int16) - theirs).mean()),
        files={one.model.path.name: _effect(one, theirs, places, labels[places]) for one in chosen},
    )


def _both(photo: bytes, frame: Frame) -> tuple[Pixels, Pixels]:
    """Our pixels and MediaPipe's, uint8 [size, size, 3] each."""
    image = open_rgb(photo, "a test photo")
    corners = resize_at_corners(to_array(frame.middle(image)), frame.size)
    return resize(image, frame), np.round(corners).astype(np.uint8)


def _effect(
    one: Asked, theirs: Pixels, places: NDArray[np.int64], labels: NDArray[np.int64]
) -> ResizeEffect:
    with IsolatedRunner.open(one.model.path) as runner:
        found = runner.run(theirs)
    before = one.probabilities[places]
    return ResizeEffect(
        agreement=metrics.agreement(found, before),
        accuracy=metrics.accuracy(found, labels),
        accuracy_before=metrics.accuracy(before, labels),
        mean_difference=metrics.mean_difference(found, before),
    )
