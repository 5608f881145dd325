"""Tuning -> <recipe>-tune.html, .md and .json."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

from markupsafe import Markup

from toolchain.report import drawings, words
from toolchain.report.html import render_page
from toolchain.report.markdown import escape, table
from toolchain.report.write import write_pages
from toolchain.saved import without_nan
from toolchain.tuning.choice import counts_size
from toolchain.tuning.values import Trial, Tuning
from toolchain.values import Interval

HEADER: Final = (
    "file", "front", "validation", "95 %", "p50 ms", "95 %", "size", "fits",
)  # fmt: skip
# More names than these hide one another; then the front and the chosen file have theirs.
_MANY: Final = 8


def write_tuning(tuning: Tuning, folder: Path) -> Path:
    """Write the three files into `folder`; gives the path of the page.

    Raises:
      MachineError: the disk is full or the place cannot be written.
    """
    name = f"{tuning.recipe}-tune"
    data = without_nan(dataclasses.asdict(tuning))
    write_pages(folder, name, render_tuning(tuning), tuning_markdown(tuning), data)
    return folder / f"{name}.html"


def render_tuning(tuning: Tuning) -> str:
    """The page; every text of the search is escaped by the template."""
    content = {
        "tuning": tuning,
        "chosen": None if tuning.chosen is None else tuning.trials[tuning.chosen],
        "header": HEADER,
        "rows": [(at == tuning.chosen, cells(tuning, at)) for at in order(tuning)],
        "failures": [trial for trial in tuning.trials if trial.failure],
        "drawing": Markup(_drawing(tuning)),  # noqa: S704 - drawn by us, its text is escaped
    }
    return render_page("tuning.html.j2", content)


def tuning_markdown(tuning: Tuning) -> str:
    """The answer and the table."""
    parts = [f"# {escape(tuning.recipe)}: search within {tuning.budget}", f"**{answer(tuning)}**"]
    parts.append(escape(tuning.reason))
    rows = ([escape(cell) for cell in cells(tuning, at)] for at in order(tuning))
    parts.append(table(HEADER, rows))
    parts.append("\n".join(f"- {escape(u.variant)}: {escape(u.reason)}" for u in tuning.untried))
    parts.append(f"Again with:\n\n    {tuning.command}")
    return "\n\n".join(part for part in parts if part) + "\n"


def answer(tuning: Tuning) -> str:
    """Which file to ship, in one line."""
    if tuning.chosen is None:
        return "Nothing to ship."
    trial = tuning.trials[tuning.chosen]
    text = f"Ship {trial.file}: {words.percent(trial.accuracy.value)} on validation"
    if tuning.test is not None:
        text += f", {words.percent(tuning.test.value)} on test ({words.interval(tuning.test)})"
    return text + "."


def order(tuning: Tuning) -> list[int]:
    """Positions of the trials: the most accurate first, of equals the fastest."""

    def key(at: int) -> tuple[float, float]:
        trial = tuning.trials[at]
        speed = trial.p50_ms.value if trial.p50_ms else float("inf")
        return -trial.accuracy.value, speed

    return sorted(range(len(tuning.trials)), key=key)


def cells(tuning: Tuning, at: int) -> tuple[str, ...]:
    """The row of a trial in the table of `HEADER`."""
    trial = tuning.trials[at]
    return (
        trial.file,
        "yes" if at in tuning.front else "",
        words.percent(trial.accuracy.value),
        words.interval(trial.accuracy),
        words.milliseconds(trial.p50_ms),
        words.milliseconds_interval(trial.p50_ms),
        words.megabytes(trial.bytes),
        "yes" if tuning.budget.allows(trial) else "no",
    )


def _drawing(tuning: Tuning) -> str:
    by_size = counts_size(tuning.budget)
    shown = [at for at, one in enumerate(tuning.trials) if by_size or one.p50_ms is not None]
    if not shown:
        return ""
    named = set(shown) if len(shown) <= _MANY else {*tuning.front, tuning.chosen}
    points = [
        drawings.Point(
            label=_label(tuning.trials[at]) if at in named else "",
            cost=_cost(tuning.trials[at], by_size),
            accuracy=tuning.trials[at].accuracy,
            blue=tuning.trials[at].format == "tflite",
            filled=tuning.trials[at].precision.startswith("int8"),
        )
        for at in shown
    ]
    if by_size:
        return drawings.tradeoff(points, "size, MB", "search", tuning.budget.max_mb)
    return drawings.tradeoff(points, "p50 latency, ms", "search", tuning.budget.max_ms)


def _cost(trial: Trial, by_size: bool) -> Interval:
    size = trial.bytes / 1e6
    if by_size or trial.p50_ms is None:
        return Interval(size, size, size)
    return trial.p50_ms


def _label(trial: Trial) -> str:
    alpha = "" if trial.alpha is None else f"α{trial.alpha:g} "
    return f"{alpha}{trial.size} {trial.precision}"
