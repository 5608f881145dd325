"""`toolchain tune`: widths, input sizes and precisions within a budget, and the recipe to ship."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from toolchain.cli.answer import print_json
from toolchain.cli.options import (
    DataOption,
    JsonOption,
    RecipeOption,
    RunsOption,
    SetOption,
    find_recipe,
)
from toolchain.errors import InputError

Number = TypeVar("Number", int, float)
_ALPHAS: Final = "0.35,0.5,0.75,1.0"
_SIZES: Final = "96,128,160"


def tune(
    recipe: RecipeOption = "",
    data: DataOption = "",
    runs: RunsOption = Path("runs"),
    overrides: SetOption = None,
    alphas: Annotated[
        str, typer.Option("--alphas", help="Widths of MobileNetV2, with commas between.")
    ] = _ALPHAS,
    sizes: Annotated[
        str, typer.Option("--sizes", help="Input sizes in pixels; the recipe's own is added.")
    ] = _SIZES,
    precisions: Annotated[
        str, typer.Option("--precisions", help="As in export.precisions; default the recipe's.")
    ] = "",
    formats: Annotated[
        str, typer.Option("--formats", help="As in export.formats; default the recipe's.")
    ] = "",
    max_ms: Annotated[
        float | None,
        typer.Option("--max-ms", help="Median milliseconds an image, on this machine."),
    ] = None,
    max_mb: Annotated[
        float | None, typer.Option("--max-mb", help="Size of the file in megabytes.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train every width and size, and choose the file to ship by its validation accuracy.

    The test split is opened for the chosen file alone. Each variant is a run of its own, so the
    same command goes on where it was stopped.

    Example: toolchain tune --data ~/photos --max-ms 3 --max-mb 4
    """
    from toolchain.cli.search import search
    from toolchain.tuning.values import Budget

    for name, bound in (("--max-ms", max_ms), ("--max-mb", max_mb)):
        if bound is not None and not bound > 0:
            raise InputError(f"expected a number above 0, received {bound:g}", name)
    files = {"export.precisions": _words(precisions), "export.formats": _words(formats)}
    changes = [f"{key}={json.dumps(words)}" for key, words in files.items() if words]
    base = find_recipe(recipe, data, [*(overrides or ()), *changes])
    found = search(
        base,
        runs,
        alphas=_numbers(alphas, "--alphas", float),
        sizes=[*_numbers(sizes, "--sizes", int), int(base.input.size or 0)],
        budget=Budget(max_ms, max_mb),
    )
    if as_json:
        print_json(found)


def _numbers(text: str, option: str, kind: Callable[[str], Number]) -> list[Number]:
    try:
        numbers = [kind(part) for part in _words(text)]
    except ValueError:
        numbers = []
    if not numbers:
        raise InputError(f"expected numbers with commas between, received {text!r}", option)
    return numbers


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
