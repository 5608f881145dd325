"""`toolchain keys`: what a recipe may say."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from toolchain.cli.answer import print_json
from toolchain.cli.options import JsonOption
from toolchain.errors import InputError


def keys(
    word: Annotated[
        str, typer.Argument(help="A section, or a part of a key or of its meaning.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Print the keys of a recipe with their defaults, bounds and meanings, as TOML.

    Example: toolchain keys quantize
    """
    from toolchain.recipe.keys import keys_toml, recipe_keys

    every = recipe_keys()
    of_section = [key for key in every if word in (key.section, key.section.partition(".")[0])]
    found = of_section or [
        key for key in every if word.lower() in f"{key.section}.{key.name} {key.meaning}".lower()
    ]
    if not found:
        sections = ", ".join(dict.fromkeys(key.section for key in every))
        raise InputError(
            f"expected a section or a part of a key, received {word!r:.60}",
            remedy=f"sections are {sections}",
        )
    if as_json:
        print_json([dataclasses.asdict(key) for key in found], indent=1)
    else:
        typer.echo(keys_toml(tuple(found)), nl=False)
