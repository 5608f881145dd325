"""Accuracy against what it costs: latency or size, with intervals and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from toolchain.report.drawings import svg
from toolchain.report.pareto import pareto_front
from toolchain.values import Interval

_SIZE: Final = (4.4, 3.1)
# Of the labels beside points, as a share of the axes' width: 8.5 points in 3.4 inches.
_LETTER_WIDTH: Final = 0.0195


@dataclass(frozen=True, slots=True)
class Point:
    """Something to choose.

    Attributes:
      label: what to call it; empty leaves it without a name.
      cost: such as milliseconds, with its interval (all above 0).
      accuracy: 0..1 with its interval.
      blue: one of two kinds, drawn as a blue dot; the other is an orange square.
      filled: whether its mark is filled.
    """

    label: str
    cost: Interval
    accuracy: Interval
    blue: bool
    filled: bool


def tradeoff(
    points: Sequence[Point], cost: str, name: str = "speed", budget: float | None = None
) -> str:
    """Up and to the left is better; the line joins what nothing else beats in both ways.

    Args:
      points: at least one.
      cost: what to write along the axis, with its unit.
      budget: a cost that may not be passed, drawn as a line.
    """
    with svg.house_style():
        figure = Figure(figsize=_SIZE)
        axes = figure.subplots()
        for point in points:
            _point(axes, point)
        _cost_axis(axes, [point.cost.value for point in points], budget)
        axes.margins(y=0.06)
        _front(axes, points)
        if budget is not None:
            axes.axvline(budget, color=svg.MUTED, lw=1, ls=(0, (3, 2)))
            axes.annotate(
                f"budget {budget:g}",
                (budget, 0),
                xycoords=axes.get_xaxis_transform(),
                xytext=(3, 3),
                textcoords="offset points",
                fontsize=8.5,
                color=svg.MUTED,
            )
        _label_points(axes, [point for point in points if point.label])
        axes.set_xlabel(cost)
        axes.set_ylabel("top-1 accuracy, %")
        return svg.to_svg(figure, name, f"accuracy against {cost}")


def _point(axes: Axes, point: Point) -> None:
    value, low, high = (
        100 * share for share in (point.accuracy.value, point.accuracy.low, point.accuracy.high)
    )
    cost = point.cost
    color = svg.BLUE if point.blue else svg.ORANGE
    axes.errorbar(
        cost.value,
        value,
        xerr=[[max(0.0, cost.value - cost.low)], [max(0.0, cost.high - cost.value)]],
        yerr=[[max(0.0, value - low)], [max(0.0, high - value)]],
        fmt="o" if point.blue else "s",
        ms=6,
        color=color,
        mfc=color if point.filled else svg.PAPER,
        elinewidth=1.1,
        zorder=3,
    )


def _front(axes: Axes, points: Sequence[Point]) -> None:
    """Steps, not slopes: between two files there is nothing to choose."""
    front = pareto_front([p.cost.value for p in points], [p.accuracy.value for p in points])
    xs = [points[at].cost.value for at in front]
    ys = [100 * points[at].accuracy.value for at in front]
    right = axes.get_xlim()[1]
    axes.plot([*xs, right], [*ys, ys[-1]], color=svg.MUTED, lw=1, drawstyle="steps-post", zorder=1)


def _cost_axis(axes: Axes, costs: Sequence[float], budget: float | None) -> None:
    # From zero a distance is a ratio; beyond a factor of 8 only a log axis shows both ends.
    low, high = min(costs), max(costs)
    ends = [low, high] if budget is None else [min(low, budget), max(high, budget)]
    if high > 8 * low:
        axes.set_xscale("log")
        axes.set_xlim(ends[0] / 1.6, ends[1] * 3)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.set_xlim(0, ends[1] * 1.3)


def _label_points(axes: Axes, points: Sequence[Point]) -> None:
    """Each label above the axes, a line leading down to its point.

    Placed from the right: a label that would cover the lines of points right of it goes one row
    above theirs, so nothing crosses. Places are in the axes' own units, 0..1 in both directions.
    """
    to_axes = axes.transData + axes.transAxes.inverted()
    placed: list[tuple[float, int]] = []
    for point in sorted(points, key=lambda point: -point.cost.value):
        x, cap = to_axes.transform((point.cost.value, 100 * point.accuracy.high))
        end = x + _LETTER_WIDTH * (len(point.label) + 1)
        row = max((row + 1 for other, row in placed if other < end), default=0)
        placed.append((x, row))
        top = 1.05 + 0.072 * row
        in_axes: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
        axes.plot([x, x], [cap + 0.015, top + 0.02], color=svg.MUTED, lw=0.5, **in_axes)
        axes.text(x + 0.008, top, point.label, va="center", fontsize=8.5, **in_axes)
