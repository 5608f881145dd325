"""The whole network of a recipe: backbone and head in one flat graph that ends in logits."""

from __future__ import annotations

from typing import Any, Final

import tf_keras
from tf_keras import layers

from toolchain.errors import RecipeError
from toolchain.recipe import Recipe
from toolchain.training.cnn import cnn
from toolchain.training.head import build_on
from toolchain.training.mobilenet_v2 import mobilenet_v2
from toolchain.training.vgg16 import vgg16

POOL: Final = "head_pool"
# Published MobileNetV2 weights come with momentum 0.999: from random weights it has not converged
# after 330 steps and evaluation stays at chance. 0.9 follows within an epoch.
_MOMENTUM_FROM_SCRATCH: Final = 0.9
_MOMENTUM_PUBLISHED: Final = 0.999


def build_network(recipe: Recipe, classes: int) -> tf_keras.Model:
    """The network with fresh weights.

    Input: float32 [batch, size, size, 3], normalised. Output: float32 [batch, classes], logits.
    Layers: the backbone's, then `head_pool` and those of `head.build_on`.

    Raises:
      RecipeError: one logit for more or fewer than two classes.
    """
    if recipe.model.head.output == "logit" and classes != 2:
        raise RecipeError(
            [f"model.head.output: one logit tells 2 classes apart, received {classes} classes"],
            recipe.name,
        )
    size = recipe.input.size
    inputs = layers.Input((size, size, 3), name="image")
    features = _backbone(recipe, inputs)
    vector = _pool(recipe.model.head.pool)(features)
    logits = build_on(vector, recipe.model.head, classes)
    return tf_keras.Model(inputs, logits, name="network")


def _backbone(recipe: Recipe, inputs: Any) -> Any:
    model = recipe.model
    if model.backbone == "vgg16":
        return vgg16(inputs)
    if model.backbone == "cnn":
        return cnn(inputs, model.blocks)
    scratch = model.weights == "none"
    momentum = _MOMENTUM_FROM_SCRATCH if scratch else _MOMENTUM_PUBLISHED
    return mobilenet_v2(inputs, float(model.alpha or 1.0), momentum)


def _pool(pool: str) -> Any:
    if pool == "flatten":
        return layers.Flatten(name=POOL)
    if pool == "max":
        return layers.GlobalMaxPooling2D(name=POOL)
    return layers.GlobalAveragePooling2D(name=POOL)


def backbone_layers(network: tf_keras.Model) -> list[Any]:
    """The layers before the head, in order, without the input."""
    names = [layer.name for layer in network.layers]
    return network.layers[1 : names.index(POOL)]


def start_index(network: tf_keras.Model, start: str | int | float) -> int | None:
    """Index in `network.layers` of the first layer that fine-tuning trains.

    `start` is a layer's or block's name, its index among the layers of Keras' model of the same
    network, or the share of the backbone that stays frozen. None when no layer answers to it.
    """
    layers_of = backbone_layers(network)
    if isinstance(start, str):
        for index, layer in enumerate(network.layers):
            if layer.name == start or layer.name.startswith(start + "_"):
                return index
        return None
    if isinstance(start, int):
        numbers = _keras_numbers(network.layers[: len(layers_of) + 1])
        return next((at for at, one in enumerate(numbers) if 0 <= start <= one), None)
    return 1 + round(start * len(layers_of)) if 0.0 <= start <= 1.0 else None


def _keras_numbers(ours: list[Any]) -> list[int]:
    """The index that each layer has in Keras' model of the network, so that published ones hold.

    Keras' VGG16 computes the activation inside of the convolution; its MobileNetV2 pads in a layer
    of its own before each depthwise convolution with a stride of 2.
    """
    numbers, number, before = [], -1, ""
    for layer in ours:
        pads = isinstance(layer, layers.DepthwiseConv2D) and layer.strides[0] == 2
        number += 0 if layer.name == f"{before}_relu" else 2 if pads else 1
        numbers.append(number)
        before = layer.name
    return numbers
