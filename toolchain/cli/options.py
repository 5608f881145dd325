"""Options that the stage commands share, and the recipe and run that they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.errors import InputError
from toolchain.models import RECIPE_NAME, models_folder, shipped_recipes
from toolchain.recipe import Recipe, load_recipe
from toolchain.run import Run

RecipeOption = Annotated[
    str,
    typer.Option(
        "--recipe", "-r", help="A recipe file, or the name of one that comes along, like digits."
    ),
]
DataOption = Annotated[
    str,
    typer.Option("--data", help="Your own photos instead of a recipe: a folder of class folders."),
]
RunsOption = Annotated[Path, typer.Option("--runs", help="Folder that holds the results.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one key of the recipe, like train.epochs=5. Repeatable."),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Run the stage even if up to date.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


def find_recipe(recipe: str, data: str, overrides: list[str] | None) -> Recipe:
    """The recipe a command means: of the user's own photos, a file, or one that comes along.

    Raises:
      InputError: both or neither are there.
      RecipeError: the recipe has mistakes.
    """
    if data:
        from toolchain.cli.draft import draft_recipe

        return draft_recipe(Path(data), overrides).recipe
    path = Path(recipe)
    known = shipped_recipes()
    if not path.exists():
        path = known.get(recipe, path)
    if path.is_dir():
        path = path / RECIPE_NAME
    several = _folder_of(recipe)
    if len(several) == 1:
        path = Path(several[0])
    elif several:
        raise InputError(
            f"expected one recipe, received a folder of {len(several)}",
            recipe,
            f"name one of them, {several[0]}; toolchain run takes the folder",
        )
    if not path.is_file():
        raise InputError(
            f"expected a recipe file or one of {', '.join(known)}, received {recipe!r}",
            str(path.absolute()),
            "write one for your photos: toolchain init PHOTOS",
        )
    return load_recipe(path, overrides)


def find_recipes(names: list[str], overrides: list[str] | None) -> list[Recipe]:
    """The recipes that several names mean, in order; a folder of recipes means all of them.

    Raises:
      InputError: one is not there, or two have the same name, and so the same run.
      RecipeError: one has mistakes.
    """
    files = [one for name in names for one in _folder_of(name) or [name]]
    recipes = [find_recipe(one, "", overrides) for one in files]
    called = [recipe.name for recipe in recipes]
    for recipe, file in zip(recipes, files, strict=True):
        if called.count(recipe.name) > 1:
            raise InputError(
                f"expected recipes of different names, received two that are called {recipe.name}",
                file,
                'give one another name: name = "..." at its top',
            )
    return recipes


def _folder_of(name: str) -> list[str]:
    """The recipes in a folder that has none called recipe.toml; nothing for what is no folder."""
    folder = Path(name) if Path(name).exists() else models_folder() / name
    if not folder.is_dir() or (folder / RECIPE_NAME).is_file():
        return []
    return sorted(str(path) for path in folder.glob("*.toml"))


def open_run(recipe: Recipe, runs: Path) -> Run:
    """The run folder of a recipe."""
    return Run(runs, recipe.name)
