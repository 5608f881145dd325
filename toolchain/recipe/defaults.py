"""What a recipe does not say: values that follow from the backbone, and keys that must agree."""

from __future__ import annotations

import dataclasses
import math
from typing import Final

from toolchain.recipe.sections import WITHOUT_PATH, Recipe

ALPHAS: Final = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
EMBEDDED_ALPHA: Final = 0.35
EMBEDDED_SIZE: Final = 48
# Gives the output, in every network.
LAST_LAYER: Final = "logits"
NO_INTEGER_SIGMOID: Final = (
    "a head of sigmoids has no int8 form, because dividing them by their sum needs their "
    "logarithms, which integer runtimes do not compute"
)
_SIZE: Final = {"mobilenet_v2": 160, "vgg16": 150}
_PIXELS: Final = {"mobilenet_v2": "symmetric", "vgg16": "caffe"}
# Where the tutorials that people copy start to fine-tune: MobileNetV2 at about layer 100 of 154,
# which is inside block 11; VGG16 at its last block.
_FINE_TUNE_START: Final = {"mobilenet_v2": "block_11_expand", "vgg16": "block5_conv1"}


def resolve(recipe: Recipe) -> Recipe:
    """The recipe with every `None` and every "backbone" replaced by what follows from the rest."""
    model, size = recipe.model, recipe.input.size
    embedded = model.weights == "embedded"
    if size is None:
        size = EMBEDDED_SIZE if embedded else _SIZE[model.backbone]
    pixels = recipe.input.pixels
    if pixels == "backbone":
        pixels = _PIXELS[model.backbone]
    alpha = model.alpha
    if alpha is None:
        alpha = EMBEDDED_ALPHA if embedded else 1.0
    start = recipe.fine_tune.start
    if start is None:
        start = _FINE_TUNE_START[model.backbone]
    return dataclasses.replace(
        recipe,
        input=dataclasses.replace(recipe.input, size=size, pixels=pixels),
        model=dataclasses.replace(model, alpha=alpha),
        fine_tune=dataclasses.replace(recipe.fine_tune, start=start),
    )


def cross_check(recipe: Recipe) -> list[str]:
    """Mistakes that lie between two keys, each as one sentence."""
    mistakes: list[str] = []
    data, model, start = recipe.data, recipe.model, recipe.fine_tune.start
    if not data.path and not str(data.source).startswith(WITHOUT_PATH):
        mistakes.append("data.path: expected the folder or archive of the photos, received none")
    if isinstance(data.validation, float) and isinstance(data.test, float):
        held_out = data.validation + data.test
        if held_out > 0.9:
            mistakes.append(
                f"data.validation + data.test: expected at most 0.9, received {held_out:.2f}"
            )
    if model.backbone == "vgg16" and model.alpha not in (None, 1.0):
        mistakes.append(f"model.alpha: vgg16 has none, received {model.alpha}")
    if model.backbone == "vgg16" and model.weights == "embedded":
        mistakes.append("model.weights: embedded is a mobilenet_v2, received backbone vgg16")
    if model.backbone == "mobilenet_v2" and model.alpha is not None and model.alpha not in ALPHAS:
        mistakes.append(
            f"model.alpha: expected one of {', '.join(map(str, ALPHAS))}, received {model.alpha}"
        )
    if model.weights == "embedded" and model.alpha not in (None, EMBEDDED_ALPHA):
        mistakes.append(
            f"model.alpha: the embedded backbone has {EMBEDDED_ALPHA}, received {model.alpha}"
        )
    if isinstance(start, float) and math.isfinite(start) and not 0.0 <= start <= 1.0:
        mistakes.append(f"fine_tune.start: expected a share of 0.0 to 1.0, received {start}")
    if recipe.train.feature_views and recipe.augment.mixup:
        mistakes.append(
            "train.feature_views: expected 0 with augment.mixup, which blends photos and not their "
            f"features, received {recipe.train.feature_views}"
        )
    mistakes += _head_mistakes(recipe) + _plateau_mistakes(recipe)
    if LAST_LAYER in recipe.quantize.skip_layers and recipe.export.int8_io == "uint8":
        mistakes.append(
            f"quantize.skip_layers: expected no {LAST_LAYER}, whose output would be float, with "
            f"export.int8_io = uint8, received {LAST_LAYER}"
        )
    if recipe.input.pixels == "caffe" and model.backbone != "vgg16":
        mistakes.append(f"input.pixels: caffe belongs to vgg16, received backbone {model.backbone}")
    return mistakes


def _plateau_mistakes(recipe: Recipe) -> list[str]:
    train, epochs = recipe.train, recipe.train.plateau_epochs
    asked = "plateau" in (train.schedule, recipe.fine_tune.schedule)
    are_numbers = isinstance(train.patience, int) and isinstance(epochs, int)
    if asked and are_numbers and epochs >= train.patience:
        return [
            f"train.plateau_epochs: expected fewer than train.patience, {train.patience}, which "
            f"would end training before the rate falls, received {epochs}"
        ]
    return []


def _head_mistakes(recipe: Recipe) -> list[str]:
    mistakes, head = [], recipe.model.head
    places = len(head.dense) + 1
    if isinstance(head.dropout, tuple) and len(head.dropout) != places:
        mistakes.append(
            f"model.head.dropout: expected {places} shares, one before each dense layer and one "
            f"before the output, received {len(head.dropout)}"
        )
    if head.output == "sigmoid" and recipe.int8_precisions():
        mistakes.append(
            f"export.precisions: {NO_INTEGER_SIGMOID}; expected fp32, fp16 and w8 alone, "
            f"or another model.head.output, received {', '.join(recipe.int8_precisions())}"
        )
    return mistakes
