"""VGG16 as one flat graph, with the layer names of Keras applications.

Simonyan, Zisserman: Very Deep Convolutional Networks, arXiv 1409.1556, configuration D.
"""

from __future__ import annotations

from typing import Any, Final

from toolchain.training.cnn import conv_blocks

# (convolutions, channels) of the five blocks.
_BLOCKS: Final = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def vgg16(inputs: Any) -> Any:
    """The convolutional part.

    Args:
      inputs: float32 [batch, size, size, 3].

    Returns:
      float32 [batch, size // 32, size // 32, 512].
    """
    return conv_blocks(inputs, _BLOCKS)
