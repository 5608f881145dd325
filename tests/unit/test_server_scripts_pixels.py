"""The scripts of the server bundle turn photos as the toolchain does, whatever else EXIF holds."""

from __future__ import annotations

import importlib.util
import io
import struct
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import toolchain
from toolchain.images.preprocess import Frame, pixels_of

SCRIPTS = Path(toolchain.__file__).parent / "bundle" / "templates" / "server"
FRAME = Frame(16, 0.9)


@pytest.fixture(params=["infer_onnx", "infer_tflite"])
def script(request) -> ModuleType:
    spec = importlib.util.spec_from_file_location(request.param, SCRIPTS / f"{request.param}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def turned(orientation: int) -> bytes:
    """A JPEG whose maker is a fraction, which no writer of EXIF takes for a text."""
    maker = struct.pack("<HHII", 0x010F, 5, 1, 38)
    tag = struct.pack("<HHIHxx", 0x0112, 3, 1, orientation)
    tiff = b"II*\0" + struct.pack("<IH", 8, 2) + maker + tag + bytes(4) + struct.pack("<II", 1, 2)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", exif=b"Exif\0\0" + tiff)
    return data.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_odd_photo_is_seen_as_in_training(script: ModuleType, orientation: int) -> None:
    data = turned(orientation)
    photo = Image.open(io.BytesIO(data))
    assert photo.getexif()[0x0112] == orientation
    found = script.to_pixels(photo, {"size": FRAME.size, "crop": FRAME.crop})
    assert np.array_equal(found, pixels_of(data, "x.jpg", FRAME))
