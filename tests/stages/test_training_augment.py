"""Augmentation keeps its bounds, and the network is given what predict gives it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from networks import photos, recipe_of

from toolchain.images.preprocess import Preprocessing, normalise
from toolchain.recipe.sections import AugmentSection
from toolchain.training.augment import augment
from toolchain.training.stage import preparation

BATCH, SIZE = 48, 16
EVERYTHING = AugmentSection(
    flip=True, rotation=20, zoom=0.2, shift=0.2, shear=0.2, brightness=0.2, contrast=0.3
)
# A bilinear resampling that lands on pixels is exact but for rounding.
PIXEL_TOLERANCE = 1e-3


def changed(section: AugmentSection, seed: tuple[int, int] = (1, 2), pixels=None):
    pixels = photos(BATCH, SIZE) if pixels is None else pixels
    batch = tf.constant(pixels.astype(np.float32))
    return augment(batch, section, tf.constant(seed, tf.int32)).numpy()


def test_images_of_a_batch_change_in_their_own_ways() -> None:
    same = np.repeat(photos(1, SIZE), 8, axis=0)
    found = changed(EVERYTHING, pixels=same)
    assert len({image.tobytes() for image in found}) == 8


def test_what_comes_out_stays_a_pixel() -> None:
    extreme = np.where(photos(BATCH, SIZE) > 127, 255, 0).astype(np.uint8)
    found = changed(AugmentSection(flip=True, zoom=0.9, brightness=1, contrast=1), pixels=extreme)
    assert (found.min(), found.max()) == (0.0, 255.0)
    assert found.dtype == np.float32


def test_brightness_moves_an_image_by_at_most_its_share() -> None:
    grey = np.full((BATCH, SIZE, SIZE, 3), 128, np.uint8)
    moved = changed(AugmentSection(brightness=0.2), pixels=grey) - 128
    assert np.ptp(moved, axis=(1, 2, 3)).max() < PIXEL_TOLERANCE
    assert 0.5 * 51 < np.abs(moved).max() <= 51 + PIXEL_TOLERANCE


def test_contrast_keeps_the_mean() -> None:
    soft = (photos(BATCH, SIZE) // 4 + 90).astype(np.uint8)
    found = changed(AugmentSection(contrast=0.5), pixels=soft)
    means = soft.mean(axis=(1, 2, 3))
    assert np.allclose(found.mean(axis=(1, 2, 3)), means, atol=0.01)
    ratio = found.std(axis=(1, 2, 3)) / soft.std(axis=(1, 2, 3))
    assert 0.5 <= ratio.min() < 0.8 < 1.2 < ratio.max() <= 1.5


def test_a_shift_moves_by_at_most_its_share() -> None:
    """A bright column in the middle is found again, elsewhere, but not further than 25 %."""
    pixels = np.zeros((BATCH, SIZE, SIZE, 3), np.uint8)
    pixels[:, :, 8] = 255
    found = changed(AugmentSection(shift=0.25), pixels=pixels)[:, SIZE // 2, :, 0]
    centre = (found * np.arange(SIZE)).sum(axis=1) / found.sum(axis=1)
    assert np.abs(centre - 8).max() <= 0.25 * SIZE + PIXEL_TOLERANCE
    assert np.ptp(centre) > 0.25 * SIZE


@pytest.mark.parametrize("pixels", ["symmetric", "unit", "caffe"])
def test_the_network_is_given_what_predict_gives_it(pixels: str) -> None:
    """Normalisation in training equals the one of images/, and evaluation is never augmented."""
    backbone = "vgg16" if pixels == "caffe" else "mobilenet_v2"
    recipe = recipe_of(32, backbone, augment={"flip": True})
    recipe = replace(recipe, input=replace(recipe.input, pixels=pixels))
    images, seed = photos(4, 32), tf.constant([1, 2], tf.int32)
    prepare = preparation(recipe)
    batch = tf.constant(images.astype(np.float32))
    expected = normalise(images, Preprocessing.of(pixels, 32))
    assert np.allclose(prepare(batch, seed, False).numpy(), expected, atol=1e-6)
    assert not np.allclose(prepare(batch, seed, True).numpy(), expected, atol=1e-2)
