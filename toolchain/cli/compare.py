"""`toolchain compare`: several runs in one table and one picture."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli.answer import print_json
from toolchain.cli.options import JsonOption, RunsOption, at_home
from toolchain.errors import InputError
from toolchain.recipe import Recipe, parse_recipe
from toolchain.recipe.write import RECIPE_FILE, given
from toolchain.run import Run, typed_command
from toolchain.saved import load_value

if TYPE_CHECKING:
    from toolchain.report.comparison import ComparedRuns


def compare(
    names: Annotated[
        list[str],
        typer.Argument(help="Two or more runs: names of folders below --runs, or paths of them."),
    ],
    runs: RunsOption = Path("runs"),
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for comparison.html, .md and .json; default --runs.",
            callback=at_home,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Put finished runs side by side: accuracy with intervals, F1, confusion, time, size.

    Example: toolchain compare digits cats-vs-dogs-mobilenetv2
    """
    found = [_find(name, runs) for name in dict.fromkeys(names)]
    if len({run.name for run in found}) < max(2, len(found)):
        raise InputError(
            f"expected two or more runs of different names, received {', '.join(names)}",
            str(runs),
            "example: toolchain compare digits cats-vs-dogs-mobilenetv2",
        )
    made = compare_finished(found, out or runs)
    if as_json:
        print_json(made.to_json())


def compare_finished(found: Sequence[Run], folder: Path) -> ComparedRuns:
    """Compare finished runs: prints the table, writes the page into `folder`.

    Raises:
      InputError: a run is not finished, or was changed after its report.
    """
    from toolchain.cli.stages import run_values
    from toolchain.report.comparison import compare_runs
    from toolchain.report.comparison_page import HEADER, rows, verdict, write_comparison
    from toolchain.terminal import say, table

    for run in found:
        _require_current(run)
    command = typed_command()
    made = compare_runs([run_values(recipe_of(run), run, command) for run in found], command)
    write_comparison(made, folder)
    table("comparison on the test split", HEADER, rows(made))
    say(f"  {verdict(made)}")
    say(f"  open {folder / 'comparison.html'}")
    return made


def _require_current(run: Run) -> None:
    """A report reads every stage: what it does not belong to is not one run's evidence."""
    from toolchain.cli import published

    run.require("report", "report.json")
    if not published.belongs(run, "report"):
        recipe, runs = str(run.stage("export") / RECIPE_FILE), str(run.folder.parent)
        raise InputError(
            "expected a finished run, found stages that are newer than its report",
            str(run.folder),
            "run: " + shlex.join(["toolchain", "report", "--recipe", recipe, "--runs", runs]),
        )


def _find(name: str, runs: Path) -> Run:
    """A run by its name below `runs`, or by the path of its folder."""
    for folder in (runs / name, Path(name)):
        if folder.is_dir():
            return Run.at(folder)
    known = sorted(path.parent.name for path in runs.glob("*/report"))
    raise InputError(
        f"expected a run, found none of that name{_among(known)}",
        str(runs / name),
        "run: toolchain run --recipe RECIPE",
    )


def _among(known: list[str]) -> str:
    return f" among {', '.join(known[:8])}" if known else ""


def recipe_of(run: Run) -> Recipe:
    """The recipe that a finished run was made from, as its report holds it, by the folder's name.

    A folder that was copied or renamed since is another run than the one of its recipe's name.

    Raises:
      ModelError: the run has no report, or one of another version.
    """
    data = load_value(run.require("report", "report.json"))
    recipe = parse_recipe(given(data["recipe"]), name=run.name, where=str(run.folder))
    return dataclasses.replace(recipe, name=run.name)
