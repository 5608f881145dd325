"""`toolchain run` and one command a stage: each brings everything before it up to date first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from toolchain.cli.answer import print_json
from toolchain.cli.options import (
    DEFAULT_RECIPE,
    DataOption,
    ForceOption,
    JsonOption,
    RecipeOption,
    RunsOption,
    SetOption,
    find_recipe,
    find_recipes,
    open_run,
)
from toolchain.errors import InputError
from toolchain.recipe import Recipe

# Command -> (the stage it runs up to, its help with an example).
_COMMANDS: Final = {
    "run": (
        "report",
        "Everything: train, quantize, export, verify, benchmark, report.\n\n"
        "Of several recipes one after the other, and then compared on one page.\n\n"
        "Example: toolchain run --data ~/photos",
    ),
    "train": (
        "train",
        "Train the head, then fine-tune the last part of the backbone.\n\n"
        "Example: toolchain train --recipe digits --set train.epochs=5",
    ),
    "quantize": (
        "quantize",
        "Calibrate, then train with simulated 8-bit arithmetic (QAT).\n\n"
        "Example: toolchain quantize --recipe digits --set quantize.epochs=3 --tune-onnx",
    ),
    "export": (
        "export",
        "Write .tflite and .onnx files with labels.txt and contract.json.\n\n"
        "Example: toolchain export --recipe digits --set export.int8_io=uint8",
    ),
    "report": (
        "report",
        "Write one page with everything that was found: report.html, .md and .json.\n\n"
        "Example: toolchain report --recipe digits",
    ),
}


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    own: dict[str, Callable[..., None]] = {"quantize": quantize, "run": run}
    for name, (stage, text) in _COMMANDS.items():
        app.command(name, help=text)(own.get(name) or stage_command(stage))


def stage_command(stage: str) -> Callable[..., None]:
    """A command that brings the chain up to date up to this stage."""

    def command(
        recipe: RecipeOption = "",
        data: DataOption = "",
        runs: RunsOption = Path("runs"),
        overrides: SetOption = None,
        force: ForceOption = False,
        as_json: JsonOption = False,
    ) -> None:
        _bring(stage, find_recipe(recipe, data, overrides), runs, force=force, as_json=as_json)

    return command


def run(
    recipes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RECIPE",
            help="Instead of --recipe: recipes, or folders of several, in order.",
        ),
    ] = None,
    recipe: RecipeOption = "",
    data: DataOption = "",
    runs: RunsOption = Path("runs"),
    overrides: SetOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    if recipes and (data or recipe):
        raise InputError(
            f"expected recipes or {'--data' if data else '--recipe'}, received both",
            remedy="for example: toolchain run digits cats-vs-dogs-mobilenetv2",
        )
    if data:
        chosen = [find_recipe(recipe, data, overrides)]
    else:
        chosen = find_recipes(recipes or [recipe or DEFAULT_RECIPE], overrides)
    if len(chosen) == 1:
        _bring("report", chosen[0], runs, force=force, as_json=as_json)
        return
    from toolchain.cli.series import run_series

    compared, missed = run_series(chosen, runs, force=force)
    if as_json and compared is not None:
        print_json(compared.to_json())
    if missed:
        raise missed[0]


def quantize(
    recipe: RecipeOption = "",
    data: DataOption = "",
    runs: RunsOption = Path("runs"),
    overrides: SetOption = None,
    tune_onnx: Annotated[
        bool,
        typer.Option(
            "--tune-onnx", help="Time every form of the int8 .onnx here; export writes the best."
        ),
    ] = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    stage = "onnx-forms" if tune_onnx else "quantize"
    _bring(stage, find_recipe(recipe, data, overrides), runs, force=force, as_json=as_json)


def _bring(stage: str, recipe: Recipe, runs: Path, *, force: bool, as_json: bool) -> None:
    from toolchain.cli.chain import describe, run_chain, say_next

    folder = open_run(recipe, runs)
    run_chain(recipe, folder, stage, force=force)
    say_next(stage, recipe)
    if as_json:
        print_json(describe(folder, stage))
