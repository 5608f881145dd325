"""Trials and a budget -> the file to ship, by its validation accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.report import words
from toolchain.report.choice import near_best
from toolchain.report.pareto import pareto_front
from toolchain.tuning.values import Budget, Trial


def choose_trial(
    trials: Sequence[Trial], budget: Budget, accuracy_drop: float
) -> tuple[int | None, str]:
    """Position of the file to ship and why; (None, why) when none is within the budget.

    Of the files within the budget, those count that lose at most `accuracy_drop` points against
    the most accurate of them; of these the fastest is taken, or the smallest when only the size
    has a budget.
    """
    inside = [at for at, trial in enumerate(trials) if budget.allows(trial)]
    if not inside:
        return None, _none(trials, budget)
    best = max(trials[at].accuracy.value for at in inside)
    accurate = near_best([trials[at].accuracy.value for at in inside], accuracy_drop)
    near = [inside[at] for at in accurate]
    by_size = counts_size(budget) or any(trials[at].p50_ms is None for at in near)
    chosen = min(near, key=lambda at: (cost(trials[at], by_size), -trials[at].accuracy.value))
    way = "smallest" if by_size else "fastest"
    reason = (
        f"Of {words.count(len(inside), 'file')} within {budget}, {len(near)} lose at most "
        f"{accuracy_drop:g} points of validation accuracy against the best "
        f"({words.percent(best)}); this is the {way} of them."
    )
    return chosen, reason


def counts_size(budget: Budget) -> bool:
    """Whether size is what counts: only it has a bound."""
    return budget.max_mb is not None and budget.max_ms is None


def cost(trial: Trial, by_size: bool) -> float:
    """What is to be small: bytes or milliseconds."""
    if by_size or trial.p50_ms is None:
        return float(trial.bytes)
    return trial.p50_ms.value


def front_of(trials: Sequence[Trial], budget: Budget) -> tuple[int, ...]:
    """Positions on the Pareto front; a file that was not timed is not on that of latency."""
    by_size = counts_size(budget)
    known = [at for at, trial in enumerate(trials) if by_size or trial.p50_ms is not None]
    costs = [cost(trials[at], by_size) for at in known]
    front = pareto_front(costs, [trials[at].accuracy.value for at in known])
    return tuple(known[at] for at in front)


def _none(trials: Sequence[Trial], budget: Budget) -> str:
    if not trials:
        return "Nothing could be tried."
    smallest = min(trials, key=lambda trial: trial.bytes)
    text = f"No file is within {budget}: the smallest, {smallest.file}, has "
    text += words.megabytes(smallest.bytes)
    timed = [(trial.p50_ms.value, trial.file) for trial in trials if trial.p50_ms is not None]
    if timed:
        fastest, name = min(timed)
        text += f"; the fastest, {name}, takes {words.milliseconds(fastest)} ms"
    return text + "."
