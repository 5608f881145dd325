"""What a recipe does not say: values that follow from the backbone, and keys that must agree."""

from __future__ import annotations

import dataclasses
from typing import Final

from toolchain.recipe.backbones import BACKBONES, Backbone
from toolchain.recipe.layers import LAST_LAYER, layers_of, skip_mistakes
from toolchain.recipe.sections import WITHOUT_PATH, BenchmarkSection, Recipe

ALPHAS: Final = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
EMBEDDED_ALPHA: Final = 0.35
# Published trials have 0.1 to 8; far below, a draw's logarithm is divided by it out of float32.
LEAST_MIXUP: Final = 0.001
EMBEDDED_SIZE: Final = 48
NO_INTEGER_SIGMOID: Final = (
    "a head of sigmoids has no int8 form, because dividing them by their sum needs their "
    "logarithms, which integer runtimes do not compute"
)


def resolve(recipe: Recipe) -> Recipe:
    """The recipe with every `None` and every "backbone" replaced by what follows from the rest.

    What is timed is in order, each once.
    """
    model, size = recipe.model, recipe.input.size
    backbone = BACKBONES[model.backbone]
    embedded = model.weights == "embedded"
    if size is None:
        size = EMBEDDED_SIZE if embedded else backbone.size
    pixels = recipe.input.pixels
    if pixels == "backbone":
        pixels = backbone.pixels
    alpha = model.alpha
    if alpha is None:
        alpha = EMBEDDED_ALPHA if embedded else 1.0
    start = recipe.fine_tune.start
    if start is None:
        start = backbone.start
    return dataclasses.replace(
        recipe,
        input=dataclasses.replace(recipe.input, size=size, pixels=pixels),
        model=dataclasses.replace(model, alpha=alpha, blocks=model.blocks or backbone.blocks),
        fine_tune=dataclasses.replace(recipe.fine_tune, start=start),
        benchmark=_in_order(recipe.benchmark),
    )


def _in_order(section: BenchmarkSection) -> BenchmarkSection:
    """Each thread count, batch and provider once; one photo at a time comes before many."""
    return dataclasses.replace(
        section,
        threads=tuple(sorted(set(section.threads))),
        batches=tuple(sorted(set(section.batches))),
        providers=tuple(dict.fromkeys(section.providers)),
    )


def cross_check(recipe: Recipe) -> list[str]:
    """Mistakes that lie between two keys, each as one sentence."""
    mistakes: list[str] = []
    data, start = recipe.data, recipe.fine_tune.start
    if not data.path and not data.source.startswith(WITHOUT_PATH):
        mistakes.append("data.path: expected the folder or archive of the photos, received none")
    if (held_out := data.validation + data.test) > 0.9:
        mistakes.append(
            f"data.validation + data.test: expected at most 0.9, received {held_out:.2f}"
        )
    if isinstance(start, float) and not 0.0 <= start <= 1.0:
        mistakes.append(f"fine_tune.start: expected a share of 0.0 to 1.0, received {start}")
    if 0.0 < recipe.augment.mixup < LEAST_MIXUP:
        mistakes.append(
            f"augment.mixup: expected 0 or at least {LEAST_MIXUP}, received {recipe.augment.mixup}"
        )
    mistakes += (
        _views_mistakes(recipe)
        + _backbone_mistakes(recipe)
        + _head_mistakes(recipe)
        + _plateau_mistakes(recipe)
        + _compress_mistakes(recipe)
        + _quantize_mistakes(recipe)
    )
    return mistakes


def _compress_mistakes(recipe: Recipe) -> list[str]:
    clusters, head = recipe.compress.clusters, recipe.model.head
    if clusters == 1:
        return ["compress.clusters: expected 0 or at least 2, received 1"]
    if clusters and head.dense and head.batch_norm == "after" and head.activation != "linear":
        return [
            "compress.clusters: expected 0 with model.head.batch_norm = after, which is folded "
            "into the rows of the next kernel and makes equal weights unequal (before leaves "
            f"them equal), received {clusters}"
        ]
    return []


def _quantize_mistakes(recipe: Recipe) -> list[str]:
    mistakes, asked, export = [], recipe.quantize, recipe.export
    if asked.epochs == 0 and "int8-qat" in export.precisions:
        mistakes.append(
            "quantize.epochs: expected at least 1 for int8-qat, received 0 (without training it is "
            "int8-ptq: ask for that in export.precisions)"
        )
    bytes_out = export.int8_io == "uint8" and "tflite" in export.formats
    if LAST_LAYER in asked.skip_layers and bytes_out and recipe.int8_precisions():
        mistakes.append(
            f"quantize.skip_layers: expected no {LAST_LAYER}, whose output would be float, with "
            f"export.int8_io = uint8, received {LAST_LAYER}"
        )
    if asked.skip_layers:
        backbone = BACKBONES[recipe.model.backbone]
        known = layers_of(recipe, len(recipe.model.blocks or backbone.blocks))
        mistakes += skip_mistakes(asked.skip_layers, known)
    return mistakes


def _views_mistakes(recipe: Recipe) -> list[str]:
    if recipe.augment.mixup:
        why = "augment.mixup, which blends photos and not their features"
    elif recipe.model.weights == "none":
        why = "model.weights = none, where nothing is frozen"
    else:
        return []
    views = {"train": recipe.train.feature_views, "fine_tune": recipe.fine_tune.feature_views}
    return [
        f"{section}.feature_views: expected 0 with {why}, received {count}"
        for section, count in views.items()
        if count
    ]


def _backbone_mistakes(recipe: Recipe) -> list[str]:
    mistakes, model = [], recipe.model
    backbone = BACKBONES[model.backbone]
    if not backbone.has_alpha and model.alpha not in (None, 1.0):
        mistakes.append(f"model.alpha: {model.backbone} has none, received {model.alpha}")
    if backbone.has_alpha and model.alpha is not None and model.alpha not in ALPHAS:
        mistakes.append(
            f"model.alpha: expected one of {', '.join(map(str, ALPHAS))}, received {model.alpha}"
        )
    if model.weights == "embedded" and model.backbone != "mobilenet_v2":
        mistakes.append(
            f"model.weights: embedded is a mobilenet_v2, received backbone {model.backbone}"
        )
    if model.weights == "embedded" and model.alpha not in (None, EMBEDDED_ALPHA):
        mistakes.append(
            f"model.alpha: the embedded backbone has {EMBEDDED_ALPHA}, received {model.alpha}"
        )
    if not backbone.is_published and model.weights not in ("none", "embedded"):
        mistakes.append(
            f"model.weights: expected none, since no weights of a {model.backbone} are published "
            f"and all of it is trained, received {model.weights}"
        )
    if recipe.input.pixels == "caffe" and model.backbone != "vgg16":
        mistakes.append(f"input.pixels: caffe belongs to vgg16, received backbone {model.backbone}")
    return mistakes + _block_mistakes(recipe, backbone)


def _block_mistakes(recipe: Recipe, backbone: Backbone) -> list[str]:
    blocks, size = recipe.model.blocks, recipe.input.size or backbone.size
    if blocks and not backbone.blocks:
        return [
            f"model.blocks: {recipe.model.backbone} has blocks of its own, received {list(blocks)}"
        ]
    # A pooling layer halves the sides; what is left must be a pixel at least.
    if size < 2 ** len(blocks or backbone.blocks):
        most = size.bit_length() - 1
        return [
            f"model.blocks: expected at most {most} for {size} pixels, each halves the sides, "
            f"received {len(blocks)}"
        ]
    return []


def _plateau_mistakes(recipe: Recipe) -> list[str]:
    train, epochs = recipe.train, recipe.train.plateau_epochs
    asked = "plateau" in (train.schedule, recipe.fine_tune.schedule)
    if asked and epochs >= train.patience:
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
