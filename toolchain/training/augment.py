"""Random changes of a training batch, all images at once, the same for the same seed."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from toolchain.recipe.sections import AugmentSection


def is_active(section: AugmentSection) -> bool:
    """Whether the section asks for any change."""
    return section != AugmentSection()


def augment(pixels: Any, section: AugmentSection, seed: Any) -> Any:
    """Change each image of a batch in its own way.

    Flip, rotation, zoom, shift and shear are one affine map and one bilinear resampling; what
    comes in from outside repeats the mirrored image.

    Args:
      pixels: float32 [batch, height, width, 3] in 0..255.
      section: how much; see `AugmentSection`.
      seed: int32 [2]; equal seeds give equal changes.

    Returns:
      float32 of the same shape, in 0..255.
    """
    draw = _Draw(tf.shape(pixels)[0], seed)
    if section != _colours_only(section):
        pixels = _affine(pixels, section, draw)
    if section.brightness:
        shift = draw.uniform(-section.brightness, section.brightness) * 255.0
        pixels = pixels + shift[:, None, None, None]
    if section.contrast:
        factor = draw.uniform(1 - section.contrast, 1 + section.contrast)[:, None, None, None]
        mean = tf.reduce_mean(pixels, axis=(1, 2, 3), keepdims=True)
        pixels = (pixels - mean) * factor + mean
    return tf.clip_by_value(pixels, 0.0, 255.0)


def _colours_only(section: AugmentSection) -> AugmentSection:
    return AugmentSection(brightness=section.brightness, contrast=section.contrast)


class _Draw:
    """Stateless uniform numbers, one vector a call, all from one seed."""

    def __init__(self, count: Any, seed: Any) -> None:
        self.count = count
        self.seed = seed
        self.calls = 0

    def uniform(self, low: float, high: float) -> Any:
        self.calls += 1
        seed = tf.stack([self.seed[0] + 7919 * self.calls, self.seed[1]])
        return tf.random.stateless_uniform([self.count], seed, low, high)


def _affine(pixels: Any, section: AugmentSection, draw: _Draw) -> Any:
    height, width = pixels.shape[1], pixels.shape[2]
    radians = section.rotation * (3.141592653589793 / 180.0)
    angle = draw.uniform(-radians, radians)
    scale_x = draw.uniform(1 - section.zoom, 1 + section.zoom)
    scale_y = draw.uniform(1 - section.zoom, 1 + section.zoom)
    shift_x = draw.uniform(-section.shift, section.shift) * width
    shift_y = draw.uniform(-section.shift, section.shift) * height
    shear = draw.uniform(-section.shear, section.shear)
    if section.flip:
        scale_x = scale_x * tf.sign(draw.uniform(-1.0, 1.0))
    cos, sin = tf.cos(angle), tf.sin(angle)
    # Output pixel -> input pixel, about the centre: rotation, then shear, then zoom and flip.
    a, b = scale_x * cos, scale_x * (shear * cos - sin)
    d, e = scale_y * sin, scale_y * (shear * sin + cos)
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    c = centre_x + shift_x - a * centre_x - b * centre_y
    f = centre_y + shift_y - d * centre_x - e * centre_y
    zero = tf.zeros_like(a)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels,
        transforms=tf.stack([a, b, c, d, e, f, zero, zero], axis=1),
        output_shape=tf.constant([height, width]),
        fill_value=tf.constant(0.0),
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )
