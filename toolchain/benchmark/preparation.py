"""From a photo's bytes to the pixels of the input, timed apart from inference."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from toolchain.benchmark.statistics import summarise
from toolchain.images.decode import open_rgb
from toolchain.images.preprocess import Frame, resize
from toolchain.measurement import Preparation
from toolchain.values import Interval

Made = TypeVar("Made")
ROUNDS: Final = 5
# What a phone's camera gives is 10 MB; photos that people train on are about this large.
MADE_UP: Final = "one made-up JPEG of 640x480"
_WIDTH, _HEIGHT, _QUALITY = 640, 480, 90
_SEED: Final = 0


@dataclass(frozen=True, slots=True)
class Photos:
    """Photos to decode.

    Attributes:
      described: what they are, in words.
      encoded: their files' bytes, at least one.
    """

    described: str
    encoded: tuple[bytes, ...]


def made_up() -> Photos:
    """A photo of smooth noise, for files that come without any."""
    from PIL import Image

    small = np.random.default_rng(_SEED).integers(0, 256, (24, 32, 3), np.uint8)
    photo = Image.fromarray(small).resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    photo.save(stream, "JPEG", quality=_QUALITY)
    return Photos(MADE_UP, (stream.getvalue(),))


def measure(photos: Photos, frame: Frame) -> Preparation:
    """Decode and resize every photo `ROUNDS` times, in this process, on one thread.

    Raises:
      ImageError: a photo cannot be decoded.
    """
    decoded: list[list[int]] = []
    resized: list[list[int]] = []
    for _ in range(ROUNDS):
        pairs = [_once(one, frame) for one in photos.encoded]
        decoded.append([pair[0] for pair in pairs])
        resized.append([pair[1] for pair in pairs])
    return Preparation(photos.described, frame.size, _median(decoded), _median(resized))


def _once(encoded: bytes, frame: Frame) -> tuple[int, int]:
    image, decoding = _timed(lambda: open_rgb(encoded, "a photo of the benchmark"))
    _, resizing = _timed(lambda: resize(image, frame))
    return decoding, resizing


def _timed(work: Callable[[], Made]) -> tuple[Made, int]:
    started = time.perf_counter_ns()
    made = work()
    return made, time.perf_counter_ns() - started


def _median(rounds: Sequence[Sequence[int]]) -> Interval:
    return summarise([[np.array(one, np.int64) for one in rounds]], batch=1).p50_ms
