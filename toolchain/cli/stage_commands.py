"""`toolchain run` and one command a stage: each brings everything before it up to date first."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from toolchain.cli.options import (
    DataOption,
    ForceOption,
    JsonOption,
    RecipeOption,
    RunsOption,
    SetOption,
    find_recipe,
    open_run,
)

# Command -> (the stage it runs up to, its help with an example).
_COMMANDS: Final = {
    "run": (
        "report",
        "Everything: train, quantize, export, verify, benchmark, report.\n\n"
        "Example: toolchain run --data ~/photos",
    ),
    "train": (
        "train",
        "Train the head, then fine-tune the last part of the backbone.\n\n"
        "Example: toolchain train --recipe digits --set train.epochs=5",
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
    for name, (stage, text) in _COMMANDS.items():
        app.command(name, help=text)(stage_command(stage))
        if name == "train":
            app.command()(quantize)


def stage_command(stage: str) -> Callable[..., None]:
    """A command that brings the chain up to date up to this stage."""

    def command(
        recipe: RecipeOption = "digits",
        data: DataOption = "",
        runs: RunsOption = Path("runs"),
        overrides: SetOption = None,
        force: ForceOption = False,
        as_json: JsonOption = False,
    ) -> None:
        from toolchain.cli.chain import describe, run_chain, say_next

        chosen = find_recipe(recipe, data, overrides)
        folder = open_run(chosen, runs)
        run_chain(chosen, folder, stage, force=force)
        say_next(stage, chosen)
        if as_json:
            typer.echo(json.dumps(describe(folder, stage)))

    return command


def quantize(
    recipe: RecipeOption = "digits",
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
    """Calibrate, then train with simulated 8-bit arithmetic (QAT).

    Example: toolchain quantize --recipe digits --set quantize.epochs=3 --tune-onnx
    """
    from toolchain.cli import chain

    if not tune_onnx:
        stage_command("quantize")(recipe, data, runs, overrides, force, as_json)
        return
    chosen = find_recipe(recipe, data, overrides)
    folder = open_run(chosen, runs)
    chain.tune_onnx(chosen, folder, force=force)
    chain.say_next("quantize", chosen)
    if as_json:
        typer.echo(json.dumps(chain.describe(folder, chain.TUNE_ONNX.name)))
