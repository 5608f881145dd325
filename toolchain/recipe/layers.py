"""The names of the layers that a recipe's network has, known without building it."""

from __future__ import annotations

import difflib
from typing import Final

from toolchain.recipe.sections import Recipe

# Gives the output, in every network.
LAST_LAYER: Final = "logits"
_BOTTLENECKS: Final = 17
_VGG16_CONVOLUTIONS: Final = (2, 2, 3, 3, 3)


def layers_of(recipe: Recipe, blocks: int) -> list[str]:
    """Those with a kernel, in order, as int8 files have them.

    Args:
      recipe: whose backbone and head are asked about.
      blocks: of a basic network, which has a convolution in each.
    """
    head = [f"head_dense_{index}" for index in range(1, len(recipe.model.head.dense) + 1)]
    if recipe.model.backbone == "mobilenet_v2":
        backbone = _mobilenet_v2()
    else:
        is_vgg16 = recipe.model.backbone == "vgg16"
        backbone = _convolutions(_VGG16_CONVOLUTIONS if is_vgg16 else (1,) * blocks)
    return [*backbone, *head, LAST_LAYER]


def _mobilenet_v2() -> list[str]:
    parts = ("expand", "depthwise", "project")
    bottlenecks = [f"block_{at}_{part}" for at in range(1, _BOTTLENECKS) for part in parts]
    return ["Conv1", "expanded_conv_depthwise", "expanded_conv_project", *bottlenecks, "Conv_1"]


def _convolutions(blocks: tuple[int, ...]) -> list[str]:
    return [
        f"block{block}_conv{index}"
        for block, convolutions in enumerate(blocks, start=1)
        for index in range(1, convolutions + 1)
    ]


def skip_mistakes(names: tuple[str, ...], known: list[str]) -> list[str]:
    """Whether there are such layers, and others that stay integer; each mistake one sentence."""
    mistakes = []
    if set(names) >= set(known):
        mistakes.append("quantize.skip_layers: expected some of the layers, received all of them")
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the first is {known[0]}"
            mistakes.append(
                f"quantize.skip_layers: expected a layer with weights, received {name!r:.60} "
                f"({hint})"
            )
    return mistakes
