"""`toolchain verify`: a run against its networks, or a folder of files against its goldens."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from toolchain.cli.answer import print_json
from toolchain.cli.options import (
    DataOption,
    ForceOption,
    JsonOption,
    RecipeOption,
    RunsOption,
    SetOption,
)
from toolchain.cli.stage_commands import stage_command
from toolchain.errors import GateError, InputError

if TYPE_CHECKING:
    from toolchain.goldens import Replayed

ContractOption = Annotated[
    Path | None,
    typer.Option("--contract", help="Replay the golden vectors of this folder, no run needed."),
]
AnswersOption = Annotated[
    Path | None,
    typer.Option("--answers", help="With --contract: JSON of what your own client answers."),
]
ToleranceOption = Annotated[
    float | None,
    typer.Option("--tolerance", min=0, max=1, help="With --answers: of a probability."),
]


_OF_A_RUN: Final = {
    "recipe": "--recipe",
    "data": "--data",
    "runs": "--runs",
    "overrides": "--set",
    "force": "--force",
}


def verify(
    context: typer.Context,
    recipe: RecipeOption = "",
    data: DataOption = "",
    runs: RunsOption = Path("runs"),
    overrides: SetOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    contract: ContractOption = None,
    answers: AnswersOption = None,
    tolerance: ToleranceOption = None,
) -> None:
    """Compare exported files with the model they came from; a missed gate exits with 3.

    With --contract no run and no TensorFlow is needed: the golden vectors that travel with the
    files are replayed here, or compared with the answers of your own client.

    Example: toolchain verify --recipe digits

    Example: toolchain verify --contract runs/digits/export
    """
    if contract is not None:
        _refuse_ignored(context, answers, tolerance)
        _replay(contract, answers, tolerance, as_json)
    elif answers is not None or tolerance is not None:
        raise InputError("--answers and --tolerance need --contract FOLDER")
    else:
        stage_command("verify")(recipe, data, runs, overrides, force, as_json)


def _refuse_ignored(context: typer.Context, answers: Path | None, tolerance: float | None) -> None:
    """Refuse options beside --contract that would change nothing.

    Raises:
      InputError: there is one.
    """
    for name, option in _OF_A_RUN.items():
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise InputError(
                f"expected --contract or {option}, received both",
                remedy=f"leave {option} out: the folder is replayed as it is, without a run",
            )
    if tolerance is not None and answers is None:
        raise InputError(
            "expected --answers with --tolerance, received none",
            remedy="leave --tolerance out: files are held to that of the golden vectors",
        )


def _replay(folder: Path, answers: Path | None, tolerance: float | None, as_json: bool) -> None:
    from toolchain.goldens import check_client, replay

    files = replay(folder) if answers is None else (check_client(folder, answers, tolerance),)
    if as_json:
        print_json([dataclasses.asdict(file) for file in files], indent=1)
    else:
        _show(files)
    for file in files:
        if file.finding is not None:
            raise GateError(
                f"step {file.finding.step}: {file.finding.what}",
                str(folder / file.file),
                "take that step as the contract says, see docs/contract.md",
            )


def _show(files: tuple[Replayed, ...]) -> None:
    from toolchain.terminal import table

    rows = [
        (
            file.file,
            file.runtime,
            "" if math.isnan(file.difference) else f"{file.difference:.1e}",
            f"{file.tolerance:g}",
            "ok" if file.finding is None else file.finding.step,
        )
        for file in files
    ]
    table("golden vectors", ("file", "run by", "difference", "allowed", "steps"), rows)
