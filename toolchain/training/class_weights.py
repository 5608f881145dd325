"""How much a photo of each class counts in the loss."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import numpy as np

from toolchain.errors import RecipeError
from toolchain.recipe import Recipe
from toolchain.values import Dataset


def class_weights(recipe: Recipe, dataset: Dataset) -> tuple[float, ...]:
    """One factor a class, in the order of `dataset.classes`; empty where all count alike.

    "balanced" is photos / (classes * photos of the class), in the train split: every class counts
    alike as a whole, and the mean over photos is 1. Of a table, classes that it leaves out have 1.

    Raises:
      RecipeError: the table names a class that the photos do not have, or leaves no class a weight.
    """
    asked = recipe.train.class_weights
    if not isinstance(asked, str):
        _check(asked, dataset.classes, recipe.name)
        weights = tuple(asked.get(name, 1.0) for name in dataset.classes)
        if not any(weights):
            raise RecipeError(
                ["train.class_weights: expected a weight above 0, received 0 for every class"],
                recipe.name,
            )
        return weights
    if asked == "none":
        return ()
    labels = dataset.label_array()[dataset.indices("train")]
    counts = np.bincount(labels, minlength=len(dataset.classes))
    # A class without a photo has no loss to weigh.
    return tuple(float(w) for w in len(labels) / (len(counts) * np.maximum(counts, 1)))


def _check(asked: Mapping[str, float], classes: tuple[str, ...], where: str) -> None:
    mistakes = []
    for name in sorted(set(asked) - set(classes)):
        near = difflib.get_close_matches(name, classes, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the first is {classes[0]!r}"
        mistakes.append(
            f"train.class_weights: expected names of classes, received {name!r:.60} ({hint})"
        )
    if mistakes:
        raise RecipeError(mistakes, where)
