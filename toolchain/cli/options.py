"""Options that the stage commands share, and the recipe and run that they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.errors import InputError
from toolchain.models import models_folder, recipe_names
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
    known = recipe_names()
    if not path.exists() and recipe in known:
        path = models_folder() / recipe / "recipe.toml"
    if path.is_dir():
        path = path / "recipe.toml"
    if not path.is_file():
        raise InputError(
            f"expected a recipe file or one of {', '.join(known)}, received {recipe!r}",
            str(path.absolute()),
            "write one for your photos: toolchain init PHOTOS",
        )
    return load_recipe(path, overrides)


def open_run(recipe: Recipe, runs: Path) -> Run:
    """The run folder of a recipe."""
    return Run(runs, recipe.name)
