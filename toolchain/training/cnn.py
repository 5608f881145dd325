"""Blocks of convolutions with a pooling layer behind each: the basic CNN, and VGG16's frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tf_keras import layers


def cnn(inputs: Any, channels: Sequence[int]) -> Any:
    """The basic network: one convolution a block, each block half as wide and high as before.

    Args:
      inputs: float32 [batch, size, size, 3].
      channels: of each block.

    Returns:
      float32 [batch, size // 2**blocks, size // 2**blocks, channels[-1]].
    """
    return conv_blocks(inputs, [(1, width) for width in channels])


def conv_blocks(inputs: Any, blocks: Sequence[tuple[int, int]]) -> Any:
    """3x3 convolutions with ReLU, and 2x2 max pooling behind each block.

    The activation is a layer of its own, so that folding and quantization meet one pattern in
    every backbone: a linear convolution, then what follows it.

    Args:
      inputs: float32 [batch, height, width, channels].
      blocks: (convolutions, channels) of each; layers are called as in Keras' VGG16.

    Returns:
      float32 [batch, height // 2**blocks, width // 2**blocks, channels of the last block].
    """
    x = inputs
    for block, (convolutions, channels) in enumerate(blocks, start=1):
        for index in range(1, convolutions + 1):
            name = f"block{block}_conv{index}"
            x = layers.Conv2D(channels, 3, padding="same", name=name)(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    return x
