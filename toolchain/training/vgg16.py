"""VGG16 as one flat graph, with the layer names of Keras applications.

Simonyan, Zisserman: Very Deep Convolutional Networks, arXiv 1409.1556, configuration D.
"""

from __future__ import annotations

from typing import Any, Final

from tf_keras import layers

# (convolutions, channels) of the five blocks.
_BLOCKS: Final = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def vgg16(inputs: Any) -> Any:
    """The convolutional part.

    The activation is a layer of its own, so that folding and quantization meet one pattern in
    every backbone: a linear convolution, then what follows it.

    Args:
      inputs: float32 [batch, size, size, 3].

    Returns:
      float32 [batch, size // 32, size // 32, 512].
    """
    x = inputs
    for block, (convolutions, channels) in enumerate(_BLOCKS, start=1):
        for index in range(1, convolutions + 1):
            name = f"block{block}_conv{index}"
            x = layers.Conv2D(channels, 3, padding="same", name=name)(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    return x
