"""`toolchain benchmark`: a recipe's run, a finished run's folder, or files alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from toolchain.errors import InputError

if TYPE_CHECKING:
    from toolchain.measurement import Benchmark
    from toolchain.recipe import Recipe


def benchmark(
    targets: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUN|FILE]...",
            help="A run's folder, or .tflite and .onnx files; without any the recipe's run.",
        ),
    ] = None,
    recipe: RecipeOption = "",
    data: DataOption = "",
    runs: RunsOption = Path("runs"),
    overrides: SetOption = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="For a look: seconds a file, wide intervals.")
    ] = False,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", help="Earlier results (JSON); a regression beyond the limits exits with 3."
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option("--import", help="What benchmark_model printed on a phone; nothing is run."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the results (JSON) here too.")
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Time every file on its runtime, each in processes of its own, with intervals.

    Without files, everything before it is brought up to date first, and the results are kept in
    the run. Settings are the recipe's: of the first RUN its own, or else digits', unless --recipe
    is given.

    Example: toolchain benchmark model.int8-qat.onnx --against baseline.json
    """
    from toolchain.benchmark.plan import quick as shortened
    from toolchain.cli import benchmarking, published
    from toolchain.cli.chain import run_chain
    from toolchain.files import try_writing
    from toolchain.measurement import load_benchmark

    if log and targets and len(targets) > 1:
        raise InputError(
            f"expected one RUN that --import keeps the log in, received {len(targets)}",
            remedy="import it once for each",
        )
    # A slip in either is told now and not after minutes of timing.
    baseline = load_benchmark(against) if against else None
    if output:
        try_writing(output)
    chosen = _chosen(targets or [], recipe, data, overrides)
    if quick:
        chosen = dataclasses.replace(chosen, benchmark=shortened(chosen.benchmark))
    if log:
        run = benchmarking.open_finished(targets[0]) if targets else open_run(chosen, runs)
        result = benchmarking.import_log(log, run)
    elif targets:
        result = benchmarking.measure_targets(targets, chosen)
    else:
        run = open_run(chosen, runs)
        run_chain(chosen, run, "benchmark", force=force)
        result = published.timings(run)
    _give(result, output, as_json)
    if against and baseline:
        benchmarking.hold_against(result, baseline, against, chosen.benchmark)


def _chosen(targets: list[Path], recipe: str, data: str, overrides: list[str] | None) -> Recipe:
    """The recipe that is asked for, or else that of the first run among the targets."""
    from toolchain.cli import benchmarking, published

    if not (recipe or data) and (run := benchmarking.first_run(targets)):
        return published.recipe(run, overrides)
    return find_recipe(recipe, data, overrides)


def _give(result: Benchmark, output: Path | None, as_json: bool) -> None:
    from toolchain.cli.answer import print_json
    from toolchain.saved import save_value, to_plain

    if output:
        save_value(result, output)
    if as_json:
        print_json(to_plain(result))
