"""Which variants of a recipe a search tries: widths of the network times sizes of its input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.errors import RecipeError
from toolchain.recipe import Recipe, parse_recipe
from toolchain.recipe.backbones import BACKBONES
from toolchain.recipe.defaults import EMBEDDED_SIZE
from toolchain.recipe.write import recipe_toml
from toolchain.tuning.values import Budget, Trial, Untried


@dataclass(frozen=True, slots=True)
class Variant:
    """One network to train; all its files come from this one training."""

    recipe: Recipe
    alpha: float | None
    size: int

    @property
    def name(self) -> str:
        """Of its run."""
        return self.recipe.name

    def untried(self, reason: str) -> Untried:
        """The same, not trained."""
        return Untried(self.name, self.alpha, self.size, reason)


def make_variants(
    base: Recipe,
    alphas: Sequence[float],
    sizes: Sequence[int],
) -> tuple[tuple[Variant, ...], tuple[Untried, ...]]:
    """Every alpha with every size, the cheapest first; those that no recipe may say are untried.

    Args:
      base: all else is as it says. A backbone without an alpha is varied in size alone.
    """
    has_alpha = BACKBONES[base.model.backbone].has_alpha
    widths: list[float | None] = [*sorted(set(alphas))] if has_alpha else [None]
    variants: list[Variant] = []
    untried: list[Untried] = []
    for alpha in widths:
        for size in sorted(set(sizes)):
            name = f"{base.name}-s{size}" if alpha is None else f"{base.name}-a{alpha:g}-s{size}"
            if base.model.weights == "embedded" and size != EMBEDDED_SIZE:
                reason = f"the embedded weights are of {EMBEDDED_SIZE} pixels"
                untried.append(Untried(name, alpha, size, reason))
                continue
            try:
                recipe = _varied(base, name, alpha, size)
            except RecipeError as error:
                untried.append(Untried(name, alpha, size, "; ".join(error.mistakes)))
                continue
            variants.append(Variant(recipe, alpha, size))
    variants.sort(key=lambda one: ((one.alpha or 1.0) ** 2 * one.size**2, one.size))
    return tuple(variants), tuple(untried)


def _varied(base: Recipe, name: str, alpha: float | None, size: int) -> Recipe:
    import tomllib

    table = tomllib.loads(recipe_toml(base))
    table["name"] = name
    table.setdefault("input", {})["size"] = size
    if alpha is not None:
        table.setdefault("model", {})["alpha"] = float(alpha)
    return parse_recipe(table, name=name)


def over_already(variant: Variant, trials: Sequence[Trial], budget: Budget) -> str:
    """Why a variant cannot be within the budget; empty when it may be.

    A network that is neither narrower nor smaller than another is neither faster nor smaller as a
    file, so where every file of that one is over the budget, this one need not be trained.
    """
    measured: dict[str, list[Trial]] = {}
    for trial in trials:
        if (trial.alpha or 1.0) <= (variant.alpha or 1.0) and trial.size <= variant.size:
            measured.setdefault(trial.variant, []).append(trial)
    for name, files in measured.items():
        if all(budget.exceeded(trial) for trial in files):
            return f"over the budget: every file of {name}, which is no larger, already is"
    return ""
