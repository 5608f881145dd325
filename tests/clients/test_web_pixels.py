"""photo.js against Pillow, byte for byte, in Node: no browser is needed for arithmetic."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import toolchain.bundle
from toolchain.contract import Contract, TensorSpec
from toolchain.images.preprocess import Frame, Preprocessing, resize
from toolchain.runtimes.base import to_input, to_probabilities

SCRIPT = Path(toolchain.bundle.__file__).parent / "templates" / "web" / "photo.js"
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(NODE is None, reason="Node.js is not installed")


def node(code: str, given: bytes = b"") -> bytes:
    """What a module printed that may use everything photo.js exports, and `given` as bytes."""
    head = f"import * as photo from {json.dumps(SCRIPT.as_uri())};"
    head += "import { readFileSync, writeSync } from 'node:fs'; const given = readFileSync(0);"
    # A .js file counts as a module by what it holds from Node 22 on, before that on request.
    command = [str(NODE), "--experimental-default-type=module", "--input-type=module", "-e"]
    done = subprocess.run(
        [*command, head + code], input=given, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def js_resize(pixels: NDArray[np.uint8], size: int, crop: float = 1.0) -> NDArray[np.uint8]:
    height, width, _ = pixels.shape
    alpha = np.full((height, width, 1), 255, np.uint8)
    code = f"""
        const image = {{ data: new Uint8ClampedArray(given), width: {width}, height: {height} }};
        writeSync(1, photo.resize(image, {{ size: {size}, crop: {crop} }}));
    """
    out = node(code, np.concatenate([pixels, alpha], axis=2).tobytes())
    return np.frombuffer(out, np.uint8).reshape(size, size, 3)


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (500, 374, 160),
        (31, 47, 160),
        (160, 97, 160),
        (160, 160, 160),
        (1, 1, 8),
        (3, 1200, 48),
        (375, 500, 160),
        (200, 241, 160),
        (200, 240, 160),
        (1023, 7, 33),
    ],
)
def test_the_resize_is_pillows_byte_for_byte(width: int, height: int, size: int) -> None:
    random = np.random.default_rng(width)
    noise = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        js_resize(noise, size), resize(Image.fromarray(noise), Frame(size))
    )


@pytest.mark.parametrize("crop", [0.875, 0.9, 0.1])
def test_the_middle_is_ours(crop: float) -> None:
    noise = np.random.default_rng(7).integers(0, 256, (374, 501, 3), dtype=np.uint8)
    ours = resize(Image.fromarray(noise), Frame(160, crop))
    np.testing.assert_array_equal(js_resize(noise, 160, crop), ours)


def test_extremes_are_not_wrapped_around() -> None:
    board = (np.indices((90, 70)).sum(axis=0) % 2 * 255).astype(np.uint8)
    pixels = np.repeat(board[:, :, None], 3, axis=2)
    for size in (13, 200):
        ours = resize(Image.fromarray(pixels), Frame(size))
        np.testing.assert_array_equal(js_resize(pixels, size), ours)


def contract(**changes: object) -> Contract:
    """A contract of 4 x 4 pixels and three classes."""
    given = {
        "name": "c",
        "format": "onnx",
        "precision": "fp32",
        "labels": ("a", "b", "c"),
        "preprocessing": Preprocessing(4, 127.5, 127.5),
        "input": TensorSpec("image", (-1, 4, 4, 3), "float32"),
        "output": TensorSpec("probabilities", (-1, 3), "float32"),
        "lineage": {},
    }
    return Contract(**given | changes)


@pytest.mark.parametrize(
    ("mean", "std"), [(128.0, 127.5), (127.5, 127.5), (0.0, 255.0), (115.0, 1.0)]
)
def test_every_byte_is_normalised_to_the_same_float(mean: float, std: float) -> None:
    made = contract(preprocessing=Preprocessing(16, mean, std))
    pixels = np.resize(np.arange(256, dtype=np.uint8), (1, 16, 16, 3))
    code = f"writeSync(1, new Uint8Array(photo.toTensor(given, {made.dumps()}).buffer));"
    found = np.frombuffer(node(code, pixels.tobytes()), np.float32).reshape(pixels.shape)
    np.testing.assert_array_equal(found, to_input(pixels, made))


def test_a_uint8_input_takes_the_bytes_as_they_are() -> None:
    made = contract(input=TensorSpec("image", (1, 4, 4, 3), "uint8", 1 / 127.5, 128))
    pixels = bytes(range(48))
    assert node(f"writeSync(1, photo.toTensor(given, {made.dumps()}));", pixels) == pixels


def test_quantized_outputs_are_made_real() -> None:
    made = contract(output=TensorSpec("probabilities", (1, 3), "uint8", 1 / 256, 3))
    raw = np.asarray([[3, 120, 255]], np.uint8)
    code = f"writeSync(1, JSON.stringify(photo.toProbabilities(given, {made.dumps()})));"
    found = json.loads(node(code, raw.tobytes()))
    np.testing.assert_allclose([found], to_probabilities(raw, made, "here"), atol=1e-7)
