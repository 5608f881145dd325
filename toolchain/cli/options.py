"""Options that the stage commands share, and the recipe and run that they mean."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from toolchain.errors import InputError
from toolchain.models import RECIPE_NAME, expanded, locate, models_folder, shipped_recipes
from toolchain.recipe import Recipe, load_recipe
from toolchain.run import Run

DEFAULT_RECIPE: Final = "digits"
RecipeOption = Annotated[
    str,
    typer.Option(
        "--recipe",
        "-r",
        help="A recipe file, or the name of one that comes along, like digits.",
        show_default=DEFAULT_RECIPE,
    ),
]
DataOption = Annotated[
    str,
    typer.Option("--data", help="Your photos instead of a recipe: folder, archive, table or .npz."),
]


def at_home(folder: Path | None) -> Path | None:
    """What ~ means in a folder that is made: no shell reads it in --runs=~/x, nor within quotes."""
    return None if folder is None else expanded(folder)


RunsOption = Annotated[
    Path, typer.Option("--runs", help="Folder that holds the results.", callback=at_home)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one key of the recipe, like train.epochs=5. Repeatable."),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Run the last stage even if up to date.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


def find_recipe(recipe: str, data: str, overrides: list[str] | None) -> Recipe:
    """The recipe a command means: of the user's own photos, a file, or one that comes along.

    Raises:
      InputError: both are given, or there is none.
      RecipeError: the recipe has mistakes.
    """
    if data and recipe:
        raise InputError(
            "expected --recipe or --data, received both",
            remedy="for a recipe with other photos: --recipe FILE --set data.path=PHOTOS",
        )
    if data:
        from toolchain.cli.draft import draft_recipe

        return draft_recipe(Path(data), overrides).recipe
    files = _files_meant(recipe or DEFAULT_RECIPE)
    if len(files) > 1:
        raise InputError(
            f"expected one recipe, received a folder of {len(files)}",
            recipe,
            f"name one of them, {files[0]}; toolchain run takes the folder",
        )
    return load_recipe(files[0], overrides)


def find_recipes(names: list[str], overrides: list[str] | None) -> list[Recipe]:
    """The recipes that several names mean, in order; a folder of recipes means all of them.

    Raises:
      InputError: one is not there, or two have the same name, and so the same run.
      RecipeError: one has mistakes.
    """
    files = [file for name in names for file in _files_meant(name)]
    recipes = [load_recipe(file, overrides) for file in files]
    called = [recipe.name for recipe in recipes]
    for recipe, file in zip(recipes, files, strict=True):
        if called.count(recipe.name) > 1:
            raise InputError(
                f"expected recipes of different names, received two that are called {recipe.name}",
                str(file),
                'give one another name: name = "..." at its top',
            )
    return recipes


def _files_meant(name: str) -> list[Path]:
    """The recipe at a path or of a shipped name; all in a folder that has no recipe.toml.

    Raises:
      InputError: there is none.
    """
    here, known = expanded(name), shipped_recipes()
    # A folder of that name that holds no recipe, such as a run's, hides none that comes along.
    for path in (here, known.get(name, models_folder() / name)):
        if path.is_file():
            return [path]
        if (path / RECIPE_NAME).is_file():
            return [path / RECIPE_NAME]
        if several := sorted(path.glob("*.toml")):
            return several
    raise InputError(
        f"expected a recipe file or one of {', '.join(known)}, received {name!r}",
        str(here.absolute()),
        "write one for your photos: toolchain init PHOTOS",
    )


def open_run(recipe: Recipe, runs: Path) -> Run:
    """The run folder of a recipe.

    Raises:
      InputError: it is the folder of the photos, where a stage's folder would be taken for a class.
    """
    run = Run(runs, recipe.name)
    photos = recipe.data.path and locate(recipe.data.path, "datasets")
    # Not `resolve`, which raises where links lead in a circle.
    if photos and os.path.realpath(run.folder) == os.path.realpath(photos):
        raise InputError(
            "expected a folder for results, received that of the photos",
            str(run.folder),
            "give another place with --runs, or the recipe another name",
        )
    return run
