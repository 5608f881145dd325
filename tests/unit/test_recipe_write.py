"""A recipe written out in full is read as the same recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.models import shipped_recipes
from toolchain.recipe import load_recipe, parse_recipe
from toolchain.recipe.write import recipe_toml


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_recipe_that_comes_along_survives(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(shipped_recipes()[name])
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_toml(recipe))
    again = load_recipe(path)
    assert again == recipe
    assert again.sha256() == recipe.sha256()


def test_what_needs_quoting_survives(tmp_path: Path) -> None:
    odd = 'C:\\photos "of" Zoë # 1'
    overrides = ["train.learning_rate=1.2345678901234567e-7", "model.head.dense=[8, 4]"]
    overrides += ["model.head.dropout=[0.1, 0.2, 0.3]", "train.class_weights.cat=2"]
    table = {"data": {"path": odd}, "train": {"class_weights": {odd: 0.1, "a.b = 1": 3.0}}}
    recipe = parse_recipe(table, name="odd", overrides=overrides)
    path = tmp_path / "any-other-name.toml"
    path.write_text(recipe_toml(recipe), encoding="utf-8")
    again = load_recipe(path)
    assert again == recipe
    assert again.data.path == odd
