"""Several things side by side: one row each, a dot with its interval for every figure of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toolchain.report.drawings import svg
from toolchain.values import Interval

_WIDTH: Final = 4.6
_NAME_LENGTH: Final = 26


@dataclass(frozen=True, slots=True)
class Dot:
    """A share in 0..1; the blue dot or the hollow orange square of its row."""

    value: Interval
    blue: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One thing and its figures."""

    name: str
    dots: tuple[Dot, ...]


def interval_rows(rows: Sequence[Row], axis: str, name: str = "compared") -> str:
    """The rows from top to bottom in the order given; at least one has a dot."""
    with svg.house_style():
        figure = Figure(figsize=(_WIDTH, 0.75 + 0.42 * len(rows)))
        axes = figure.subplots()
        for place, row in enumerate(reversed(rows)):
            for order, dot in enumerate(row.dots):
                aside = 0.0 if len(row.dots) == 1 else 0.24 * (0.5 - order)
                _dot(axes, place + aside, dot)
        axes.set_yticks(range(len(rows)), [_short(row.name) for row in reversed(rows)])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.margins(x=0.08)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0, labelcolor=svg.INK)
        axes.set_xlabel(axis)
        return svg.to_svg(figure, name, f"{axis} of {len(rows)} runs")


def _dot(axes: Axes, place: float, dot: Dot) -> None:
    value, low, high = (100 * share for share in (dot.value.value, dot.value.low, dot.value.high))
    color = svg.BLUE if dot.blue else svg.ORANGE
    axes.errorbar(
        value,
        place,
        xerr=[[max(0.0, value - low)], [max(0.0, high - value)]],
        fmt="o" if dot.blue else "s",
        ms=6,
        color=color,
        mfc=color if dot.blue else svg.PAPER,
        elinewidth=1.2,
    )
    axes.annotate(
        f"{value:.1f}",
        (high, place),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        color=color,
    )


def _short(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + "…"
