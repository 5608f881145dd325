"""MediaPipe's resize, measured on a .tflite file without MediaPipe."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import tiny_network
from PIL import Image
from tiny_onnx import write_float_onnx
from tiny_tflite import write_float_tflite

from toolchain.contract import ExportedModel
from toolchain.evidence import ClientResize
from toolchain.images.corners import resize_at_corners
from toolchain.images.preprocess import Frame
from toolchain.runtimes.carried import read_contract
from toolchain.verification import ask
from toolchain.verification.client_resize import client_resize


def exported(path: Path) -> ExportedModel:
    return ExportedModel(path, hashlib.sha256(path.read_bytes()).hexdigest(), read_contract(path))


def png(pixels: np.ndarray) -> bytes:
    """A photo whose middle, which the network sees, are these pixels."""
    edge = (Frame(len(pixels), tiny_network.FRAME.crop).whole() - len(pixels)) // 2
    buffer = io.BytesIO()
    Image.fromarray(np.pad(pixels, ((edge, edge), (edge, edge), (0, 0)))).save(buffer, "PNG")
    return buffer.getvalue()


def enlarged(pixels: np.ndarray) -> np.ndarray:
    """Four times as large, every other byte dark: who does not average sees the bright ones."""
    large = pixels.repeat(4, axis=0).repeat(4, axis=1)
    large[1::2] = large[:, 1::2] = 0
    return large


def test_corners_are_taken_and_what_lies_between_is_not() -> None:
    board = np.zeros((8, 8, 3), np.uint8)
    board[::4, ::4] = 200
    assert np.array_equal(resize_at_corners(board, 2), np.full((2, 2, 3), 200.0))
    ramp = np.repeat(np.arange(0, 60, 10, dtype=np.uint8)[None, :, None], 3, axis=2)
    assert resize_at_corners(ramp, 4)[0, :, 0] == pytest.approx([0, 15, 30, 45])
    noise = np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    assert np.array_equal(resize_at_corners(noise, 5), noise)


def test_the_effect_on_each_tflite_file_is_measured(tmp_path: Path) -> None:
    models = [exported(write_float_tflite(tmp_path)), exported(write_float_onnx(tmp_path))]
    pixels, labels = tiny_network.images(12)
    asked = ask(models, pixels)
    same = client_resize(asked, [(place, png(pixels[place])) for place in (3, 7)], labels)
    assert (same.photos, same.byte_difference) == (2, 0.0)
    (effect,) = same.files.values()
    assert (effect.agreement, effect.mean_difference) == (1.0, 0.0)
    large = {place: png(enlarged(picture)) for place, picture in enumerate(pixels)}
    other = client_resize(asked, large.items(), labels)
    assert list(other.files) == [models[0].path.name]
    (effect,) = other.files.values()
    # Ours averages with the dark; the corners are the pictures that were asked about.
    assert other.byte_difference > 50
    assert effect.agreement == 1.0
    assert effect.mean_difference == pytest.approx(0.0, abs=1e-6)
    assert effect.accuracy == effect.accuracy_before
    assert effect.accuracy_before == (asked[0].probabilities.argmax(axis=1) == labels).mean()
    other.save(tmp_path)
    assert ClientResize.load(tmp_path) == other
    wrong = client_resize(asked, (large | {0: png(255 - pixels[0])}).items(), labels)
    assert next(iter(wrong.files.values())).agreement == pytest.approx(11 / 12)


def test_nothing_is_measured_without_a_tflite_file_or_a_photo(tmp_path: Path) -> None:
    pixels, labels = tiny_network.images(2)
    asked = ask([exported(write_float_onnx(tmp_path))], pixels)
    assert client_resize(asked, [(0, png(pixels[0]))], labels) is None
    asked = ask([exported(write_float_tflite(tmp_path))], pixels)
    assert client_resize(asked, [], labels) is None
    assert ClientResize.load(tmp_path / "nowhere") is None
