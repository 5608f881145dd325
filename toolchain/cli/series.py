"""Several recipes by one command: run one after the other, then compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.cli.chain import run_chain
from toolchain.cli.compare import compare_finished
from toolchain.cli.options import open_run
from toolchain.errors import GateError
from toolchain.recipe import Recipe
from toolchain.terminal import say

if TYPE_CHECKING:
    from toolchain.report.comparison import ComparedRuns


def run_series(
    recipes: Sequence[Recipe], runs: Path, *, force: bool
) -> tuple[ComparedRuns | None, list[GateError]]:
    """Run two or more recipes to their reports and compare those that got there.

    What is finished is up to date, so the same command goes on after a stop. A run that misses a
    gate does not keep the others from running.

    Returns:
      The comparison, None where fewer than two got there; and the gates that were missed.

    Raises:
      ToolchainError: at once, any error from the stages but a missed gate.
    """
    finished, missed = [], []
    for number, recipe in enumerate(recipes, start=1):
        say(f"[{number}/{len(recipes)}] {recipe.name}")
        run = open_run(recipe, runs)
        try:
            run_chain(recipe, run, "report", force=force)
        except GateError as error:
            say(f"  {recipe.name} missed a gate, the others go on: {error.what}")
            missed.append(error)
            continue
        finished.append(run)
    compared = compare_finished(finished, runs) if len(finished) > 1 else None
    return compared, missed
