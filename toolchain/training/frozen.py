"""Where the frozen part of a network ends: what can be computed once and trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import tensorflow as tf
import tf_keras

_FLOAT32_BYTES: Final = 4
_KERNELS: Final = ("kernel", "depthwise_kernel")


@dataclass(frozen=True, slots=True)
class Cut:
    """The one tensor that leads from a network's frozen layers to the others.

    Attributes:
      layer: whose output it is.
      position: of that layer in the network.
      tensor: it, without a number in it.
      below: photos -> the tensor.
      above: the tensor -> logits. Both are made of the network's own layers: what is trained in
        `above` is trained in the network.
      shape: of the tensor, of one photo.
      multiply_adds: of `below`, for one photo.
    """

    layer: str
    position: int
    tensor: Any
    below: tf_keras.Model
    above: tf_keras.Model
    shape: tuple[int, ...]
    multiply_adds: int

    @property
    def photo_bytes(self) -> int:
        """What the tensor of one photo takes as float32."""
        return math.prod(self.shape) * _FLOAT32_BYTES

    def up_to(self, higher: Cut) -> tf_keras.Model:
        """This tensor -> that of a cut of the same network that lies above."""
        return tf_keras.Model(self.tensor, higher.tensor)


def cut_of(network: tf_keras.Model) -> Cut | None:
    """The last place where one tensor, and no more, leaves the layers that never change.

    Those are the layers before the first that is trained or drops units. Where a residual
    connection leads past that place, it is the last earlier one that nothing leads past.

    Returns:
      None when that is the image itself.
    """
    layers = network.layers
    first = next((at for at, layer in enumerate(layers) if _changes(layer)), len(layers))
    for end in range(first, 1, -1):
        if end < len(layers) and (position := _only_crossing(layers, end)) is not None:
            return _cut_behind(network, position) if position else None
    return None


def _changes(layer: Any) -> bool:
    return bool(layer.trainable_weights) or isinstance(layer, tf_keras.layers.Dropout)


def _only_crossing(layers: Sequence[Any], end: int) -> int | None:
    """Position of the one layer before `end` that layers from `end` on read; None: several."""
    # Node 0 of a layer is its place in this network; cuts add more.
    made = {id(layer.get_output_at(0)): at for at, layer in enumerate(layers[:end])}
    read = {
        id(tensor) for layer in layers[end:] for tensor in tf.nest.flatten(layer.get_input_at(0))
    }
    crossing = [position for tensor, position in made.items() if tensor in read]
    return crossing[0] if len(crossing) == 1 else None


def _cut_behind(network: tf_keras.Model, position: int) -> Cut:
    tensor = network.layers[position].get_output_at(0)
    below = tf_keras.Model(network.input, tensor, name="below")
    return Cut(
        layer=network.layers[position].name,
        position=position,
        tensor=tensor,
        below=below,
        above=tf_keras.Model(tensor, network.output, name="above"),
        shape=tuple(tensor.shape[1:]),
        multiply_adds=sum(_multiply_adds(layer) for layer in below.layers),
    )


def _multiply_adds(layer: Any) -> int:
    """Of one photo: every kernel's weight is used once at each place of the output."""
    kernels = [
        weight for weight in layer.weights if weight.name.split("/")[-1].startswith(_KERNELS)
    ]
    places = math.prod(layer.get_output_at(0).shape[1:-1]) if kernels else 0
    return sum(places * math.prod(kernel.shape) for kernel in kernels)
