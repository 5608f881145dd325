"""Decoding and resizing, timed apart."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from toolchain.benchmark.preparation import MADE_UP, Photos, made_up, measure
from toolchain.errors import ImageError
from toolchain.images.preprocess import Frame


def png(width: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, width), "red").save(stream, "PNG")
    return stream.getvalue()


def test_a_made_up_photo_is_a_jpeg_like_those_people_have() -> None:
    photos = made_up()
    (encoded,) = photos.encoded
    with Image.open(io.BytesIO(encoded)) as image:
        assert (image.format, image.size) == ("JPEG", (640, 480))
    assert photos.described == MADE_UP
    assert made_up() == photos


def test_both_parts_are_timed() -> None:
    made = measure(Photos("reds", (png(300), png(310))), Frame(32))
    assert (made.photos, made.size) == ("reds", 32)
    for found in (made.decode_ms, made.resize_ms):
        assert 0 < found.low <= found.value <= found.high


def test_larger_photos_take_longer() -> None:
    small, large = (
        measure(Photos("", (png(width),)), Frame(32)).decode_ms.value for width in (64, 2000)
    )
    assert large > 5 * small


def test_a_photo_that_is_none_is_an_error() -> None:
    with pytest.raises(ImageError):
        measure(Photos("", (b"no photo",)), Frame(32))
