"""`toolchain init`: a small recipe for a folder of photos."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.answer import print_json
from toolchain.cli.options import JsonOption
from toolchain.errors import InputError
from toolchain.models import expanded


def init(
    photos: Annotated[
        str, typer.Argument(help="A folder, archive, table or .npz of labelled photos.")
    ],
    output: Annotated[
        str,
        typer.Option("--output", "-o", help="Recipe to write; default models/NAME/recipe.toml."),
    ] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a recipe.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Look at a folder of photos and write a small recipe for it.

    Example: toolchain init ~/photos
    """
    from toolchain.cli.draft import draft_recipe
    from toolchain.files import write_text
    from toolchain.terminal import say

    draft = draft_recipe(Path(photos))
    path = expanded(output) if output else Path("models") / draft.recipe.name / "recipe.toml"
    _make_room(path, overwrite=overwrite)
    write_text(path, draft.text)
    for assumption in draft.assumptions:
        say(f"  {assumption}")
    say(f"wrote {path}")
    say(f"next: toolchain run --recipe {shlex.quote(str(path))}")
    if as_json:
        print_json({"recipe": str(path), "assumed": list(draft.assumptions)})


def _make_room(path: Path, *, overwrite: bool) -> None:
    """The folder of the recipe, where a file can be written there."""
    try:
        if path.is_dir():
            raise InputError(
                "expected a file to write, received a folder",
                str(path),
                f"give a file: --output {path / 'recipe.toml'}",
            )
        if path.exists() and not overwrite:
            raise InputError("the recipe exists already", str(path), "give --overwrite or --output")
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the recipe cannot be written: {error.strerror}",
            str(path),
            "give another file with --output",
        ) from error
