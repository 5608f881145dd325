"""Random changes of a training batch, all images at once, the same for the same seed."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from toolchain.recipe.sections import AugmentSection


def is_active(section: AugmentSection) -> bool:
    """Whether the section asks for any change."""
    return section != AugmentSection()


def augment(pixels: Any, section: AugmentSection, seed: Any) -> Any:
    """Change each image of a batch in its own way; `mixup` is apart, since it changes labels too.

    Flip first. Rotation, zoom, shift and shear are one affine map and one bilinear resampling; what
    comes in from outside repeats the mirrored image. Then brightness, contrast and erasing.

    Args:
      pixels: float32 [batch, height, width, 3] in 0..255.
      section: how much; see `AugmentSection`.
      seed: int32 [2]; equal seeds give equal changes.

    Returns:
      float32 of the same shape, in 0..255.
    """
    draw = _Draw(tf.shape(pixels)[0], seed)
    if section.flip:
        pixels = _flip(pixels, draw)
    if _moves(section):
        pixels = _affine(pixels, section, draw)
    if section.brightness:
        shift = draw.uniform(-section.brightness, section.brightness) * 255.0
        pixels = pixels + shift[:, None, None, None]
    if section.contrast:
        factor = draw.uniform(1 - section.contrast, 1 + section.contrast)[:, None, None, None]
        mean = tf.reduce_mean(pixels, axis=(1, 2, 3), keepdims=True)
        pixels = (pixels - mean) * factor + mean
    pixels = tf.clip_by_value(pixels, 0.0, 255.0)
    return _erase(pixels, section.erase, draw) if section.erase else pixels


def mix(inputs: Any, alpha: float, seed: Any) -> tuple[Any, Any]:
    """Mixup (arXiv 1710.09412): each image blended with the one opposite it in the batch.

    The first meets the last, the second the last but one: batches come shuffled, so that the
    pairs are random.

    Args:
      inputs: float32 [batch, ...].
      alpha: the share of the image itself is drawn from Beta(alpha, alpha), one an image.
      seed: int32 [2]; equal seeds give equal shares.

    Returns:
      (share * inputs + (1 - share) * inputs in reverse, share as float32 [batch] in 0..1).
    """
    count = tf.shape(inputs)[0]
    # Beta(a, a) is X / (X + Y) of two Gamma(a) numbers. They are drawn as logarithms, from
    # Gamma(a) = Gamma(a + 1) * U ** (1 / a): for a small alpha both underflow, and the share of
    # two numbers that are 0 is no share.
    seeds = tf.stack([seed[0] + 104_729, seed[1]]), tf.stack([seed[0] + 1_299_709, seed[1]])
    uniform = tf.random.stateless_uniform([2, count], seeds[0], minval=1e-30)
    logs = tf.math.log(tf.random.stateless_gamma([2, count], seeds[1], alpha + 1.0))
    logs += tf.math.log(uniform) / alpha
    share = tf.sigmoid(logs[0] - logs[1])
    own = tf.reshape(share, tf.concat([[count], tf.ones([tf.rank(inputs) - 1], tf.int32)], 0))
    return own * inputs + (1 - own) * tf.reverse(inputs, [0]), share


def _moves(section: AugmentSection) -> bool:
    return any((section.rotation, section.zoom, section.shift, section.shear))


def _flip(pixels: Any, draw: _Draw) -> Any:
    """Mirror about half of the images: resampling them took half of a MobileNetV2 step at 160."""
    mirrored = draw.uniform(-1.0, 1.0) < 0.0
    return tf.where(mirrored[:, None, None, None], tf.reverse(pixels, [2]), pixels)


def _erase(pixels: Any, most: float, draw: _Draw) -> Any:
    """Cover a box of each image with one random colour (random erasing, arXiv 1708.04896).

    Its area is uniform in 0..`most` of the image, its aspect ratio log-uniform in 0.3..3.3, and it
    lies inside the image.
    """
    height, width = pixels.shape[1], pixels.shape[2]
    area = draw.uniform(0.0, most) * height * width
    stretch = tf.exp(draw.uniform(-1.2, 1.2) / 2)
    tall = tf.minimum(tf.sqrt(area) * stretch, float(height))
    wide = tf.minimum(tf.sqrt(area) / stretch, float(width))
    top = draw.uniform(0.0, 1.0) * (height - tall)
    left = draw.uniform(0.0, 1.0) * (width - wide)
    colour = tf.stack([draw.uniform(0.0, 255.0) for _ in range(3)], axis=1)
    rows = _between(tf.range(height, dtype=tf.float32), top, tall)[:, :, None, None]
    columns = _between(tf.range(width, dtype=tf.float32), left, wide)[:, None, :, None]
    return tf.where(rows & columns, colour[:, None, None, :], pixels)


def _between(places: Any, start: Any, length: Any) -> Any:
    """Which pixels' centres lie in [start, start + length): bool [batch, places]."""
    centres = places[None, :] + 0.5
    return (centres >= start[:, None]) & (centres < (start + length)[:, None])


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
    cos, sin = tf.cos(angle), tf.sin(angle)
    # Output pixel -> input pixel, about the centre: rotation, then shear, then zoom.
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
