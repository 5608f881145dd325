"""The whole network of a recipe: backbone and head in one flat graph that ends in logits."""

from __future__ import annotations

from typing import Any, Final

import tf_keras
from tf_keras import layers

from toolchain.errors import RecipeError
from toolchain.recipe import Recipe
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
    scratch = recipe.model.weights == "none"
    momentum = _MOMENTUM_FROM_SCRATCH if scratch else _MOMENTUM_PUBLISHED
    if recipe.model.backbone == "vgg16":
        features = vgg16(inputs)
    else:
        features = mobilenet_v2(inputs, float(recipe.model.alpha or 1.0), momentum)
    vector = _pool(recipe.model.head.pool)(features)
    logits = build_on(vector, recipe.model.head, classes)
    return tf_keras.Model(inputs, logits, name="network")


def build_head(recipe: Recipe, features: int, classes: int) -> tf_keras.Model:
    """The head alone, on vectors: float32 [batch, features] -> logits; layer names as above."""
    vector = layers.Input((features,), name="features")
    return tf_keras.Model(vector, build_on(vector, recipe.model.head, classes), name="head")


def feature_extractor(network: tf_keras.Model) -> tf_keras.Model:
    """The part of `network` up to the vector that its head reads."""
    return tf_keras.Model(network.input, network.get_layer(POOL).output, name="features")


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

    `start` is a layer's or block's name, an index into the layers, or the share of the backbone
    that stays frozen. None when no layer answers to it.
    """
    layers_of = backbone_layers(network)
    if isinstance(start, str):
        for index, layer in enumerate(network.layers):
            if layer.name == start or layer.name.startswith(start + "_"):
                return index
        return None
    if isinstance(start, int):
        return start if 0 <= start < len(layers_of) + 1 else None
    return 1 + round(start * len(layers_of)) if 0.0 <= start <= 1.0 else None
