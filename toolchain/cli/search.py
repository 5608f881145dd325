"""The search behind `toolchain tune`: ordinary runs, one a variant, and what they are chosen by."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from toolchain import __version__
from toolchain.cli import published
from toolchain.cli.chain import needed, run_chain
from toolchain.errors import GateError, InputError, MachineError, ModelError
from toolchain.files import sha256_json, write_text
from toolchain.recipe import Recipe
from toolchain.recipe.write import RECIPE_FILE, recipe_toml
from toolchain.run import Run, typed_command
from toolchain.saved import load_as, save_value
from toolchain.terminal import say, table
from toolchain.training.pretrained import find_imagenet, weights_path
from toolchain.tuning.choice import choose_trial, front_of
from toolchain.tuning.page import HEADER, answer, cells, order, write_tuning
from toolchain.tuning.values import Budget, Trial, Trials, Tuning, Untried
from toolchain.tuning.variants import Variant, make_variants, over_already
from toolchain.values import Interval
from toolchain.verification import ask
from toolchain.verification.metrics import top1
from toolchain.verification.statistics import wilson

STAGE: Final = "tune"
TRIALS: Final = "trials.json"


def search(
    base: Recipe,
    runs: Path,
    *,
    alphas: Sequence[float],
    sizes: Sequence[int],
    budget: Budget,
) -> dict[str, Any]:
    """Try every variant, choose by validation accuracy, verify the chosen one; gives plain data.

    Raises:
      InputError: there is no variant that a recipe may say.
      GateError: no file is within the budget, or the chosen one misses a gate on the test split.
      ToolchainError: from the stages.
    """
    variants, untried = make_variants(base, alphas, sizes)
    if not variants:
        raise InputError(
            f"expected a width and a size that a recipe may have: {untried[0].reason}",
            untried[0].variant,
            "give others with --alphas and --sizes",
        )
    tried: list[Trials] = []
    left_out = [*untried]
    unreachable: list[str] = []
    for number, variant in enumerate(variants, start=1):
        say(f"[{number}/{len(variants)}] {variant.name}")
        known = [trial for one in tried for trial in one.trials]
        reason = over_already(variant, known, budget) or _without_weights(variant, unreachable)
        if not reason:
            try:
                tried.append(_try(variant, runs))
                continue
            except ModelError as error:
                if error.where != str(weights_path(variant.recipe)):
                    raise
                reason = f"its weights do not fit: {error.what}"
        say(f"  not tried: {reason}")
        left_out.append(variant.untried(reason))
    found = _conclude(base, tried, left_out, budget)
    return _ship(found, variants, base, runs)


def _without_weights(variant: Variant, unreachable: list[str]) -> str:
    """Why the backbone's weights cannot be had; after one failed download none is tried again."""
    recipe = variant.recipe
    if recipe.model.weights == "imagenet" and unreachable and find_imagenet(recipe) is None:
        return f"its ImageNet weights are not on this machine, and {unreachable[0]}"
    try:
        weights_path(recipe)
    except MachineError as error:
        unreachable.append(error.what)
        return f"its ImageNet weights are not on this machine: {error.what}"
    except ModelError as error:
        return error.what
    return ""


def _try(variant: Variant, runs: Path) -> Trials:
    """Train the variant and measure its files, unless that was done before."""
    recipe, run = variant.recipe, Run(runs, variant.name)
    before = needed("export", recipe)[-2].name
    run_chain(recipe, run, before)
    key = _key(recipe, run, before)
    if run.is_current(STAGE, key):
        say(f"{STAGE}: up to date")
    else:
        run_chain(recipe, run, "export")
        say(f"{STAGE}:")
        with run.lock(), run.publish(STAGE, key) as out:
            save_value(_measure(variant, run), out / TRIALS)
    return load_as(Trials, run.require(STAGE, TRIALS))


def _key(recipe: Recipe, run: Run, trained: str) -> str:
    """Hash of what the trials depend on; not of the exported bytes, which shipping writes anew."""
    made_from = {name: published.digest(run, name) or "" for name in ("data", "train", trained)}
    return sha256_json(
        {
            "toolchain": __version__,
            "made_from": made_from,
            "export": recipe.section("export"),
            "benchmark": recipe.section("benchmark"),
        }
    )


def _measure(variant: Variant, run: Run) -> Trials:
    """Validation accuracy through the real runtimes, then latency."""
    exported = published.exported(run)
    dataset = published.dataset(variant.recipe, run)
    rows = dataset.indices("validation")
    labels = dataset.label_array()[rows]
    right = {
        one.model.path.name: int((top1(one.probabilities) == labels).sum())
        for one in ask(exported, dataset.pixels().view(rows))
    }
    machine, timed = _time(variant.recipe, run)
    trials = []
    for model in exported:
        p50, failure = timed.get(model.path.name, (None, "it was not timed"))
        trial = Trial(
            variant=variant.name,
            alpha=variant.alpha,
            size=variant.size,
            file=model.path.name,
            format=model.contract.format,
            precision=model.contract.precision,
            bytes=model.path.stat().st_size,
            images=len(labels),
            accuracy=wilson(right[model.path.name], len(labels)),
            p50_ms=p50,
            failure=failure,
        )
        trials.append(trial)
    return Trials(machine, tuple(trials))


def _time(
    recipe: Recipe, run: Run
) -> tuple[dict[str, str], dict[str, tuple[Interval | None, str]]]:
    """The machine, and of each file its p50 of one image or why there is none."""
    from toolchain.benchmark.candidate import candidates
    from toolchain.benchmark.harness import benchmark
    from toolchain.benchmark.plan import quick
    from toolchain.benchmark.preparation import made_up

    section = dataclasses.replace(
        quick(recipe.benchmark), threads=recipe.benchmark.threads[:1], batches=(1,)
    )
    chosen = candidates(published.exported(run), section)
    result = benchmark(chosen, section, {}, made_up(), command=typed_command())
    return result.machine, {
        row.file: (row.latency.p50_ms if row.latency else None, row.failure)
        for row in reversed(result.measurements)
    }


def _conclude(
    base: Recipe, tried: Sequence[Trials], untried: Sequence[Untried], budget: Budget
) -> Tuning:
    trials = tuple(trial for one in tried for trial in one.trials)
    drop = base.verify.accuracy_drop
    chosen, reason = choose_trial(trials, budget, drop)
    return Tuning(
        recipe=base.name,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        command=typed_command(),
        toolchain=__version__,
        machine=tried[-1].machine if tried else {},
        budget=budget,
        accuracy_drop=drop,
        trials=trials,
        untried=tuple(untried),
        front=front_of(trials, budget),
        chosen=chosen,
        reason=reason,
    )


def _ship(found: Tuning, variants: Sequence[Variant], base: Recipe, runs: Path) -> dict[str, Any]:
    """Write the page and the recipe, then verify, time and report the chosen file's run."""
    page = write_tuning(found, runs)
    table(f"search within {found.budget}", HEADER, [cells(found, at) for at in order(found)])
    for one in found.untried:
        say(f"  not tried: {one.variant}: {one.reason}")
    if found.chosen is None:
        raise GateError(
            found.reason, str(page), "raise the budget, or try smaller --alphas, --sizes"
        )
    trial = found.trials[found.chosen]
    recipe = _shipping(next(v.recipe for v in variants if v.name == trial.variant), trial, base)
    path = runs / recipe.name / RECIPE_FILE
    write_text(path, f"# {_one_line(found.command)}: ship {trial.file}\n{recipe_toml(recipe)}")
    found = dataclasses.replace(found, ships=str(path))
    write_tuning(found, runs)
    run = Run(runs, recipe.name)
    run_chain(recipe, run, "report")
    verified = published.verification(run).files
    test = next(file.accuracy for file in verified if file.file == trial.file)
    found = dataclasses.replace(found, test=test)
    write_tuning(found, runs)
    say(f"  {answer(found)} {found.reason}")
    say(f"  its recipe: {path}")
    say(f"  open {page}")
    return dataclasses.asdict(found)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _shipping(recipe: Recipe, trial: Trial, base: Recipe) -> Recipe:
    """The variant's recipe with the files that are shipped: the chosen precision beside float."""
    precisions = tuple(dict.fromkeys(("fp32", trial.precision)))
    formats = tuple(dict.fromkeys((*base.export.formats, trial.format)))
    export = dataclasses.replace(recipe.export, precisions=precisions, formats=formats)
    return dataclasses.replace(recipe, export=export)
