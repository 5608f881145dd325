"""A confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toolchain.report.drawings import svg

# Beyond this a matrix cannot be read on a page; the most confused pairs are listed instead.
MAX_CLASSES: Final = 40
# Up to so many a matrix fits beside a table, and on a phone.
FEW_CLASSES: Final = 12
_NAME_LENGTH: Final = 18


def confusion_matrix(
    classes: Sequence[str], counts: Sequence[Sequence[int]], name: str = "confusion"
) -> str:
    """What is right in blue, mistakes in orange, shaded by share of the row.

    Args:
      classes: at most `MAX_CLASSES` names.
      counts: counts[true][predicted].
      name: makes the drawing's ids its own on a page with several.
    """
    names = [_short(one) for one in classes]
    matrix = np.asarray(counts, dtype=np.int64)
    side = max(2.6, 0.36 * len(names)) if len(names) <= FEW_CLASSES else 0.3 * len(names)
    with svg.house_style():
        figure = Figure(figsize=(side + 0.6, side + 0.6))
        axes = figure.subplots()
        for true, row in enumerate(matrix):
            for predicted in np.flatnonzero(row):
                _cell(axes, true, int(predicted), int(row[predicted]), float(row.sum()))
        axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5), aspect="equal")
        upright = 90 if max(map(len, names)) > 3 and len(names) > 3 else 0
        axes.set_xticks(range(len(names)), names, rotation=upright)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0)
        axes.grid(False)
        axes.spines[:].set_visible(True)
        axes.set_xlabel("called")
        axes.set_ylabel("true")
        return svg.to_svg(figure, name, f"confusion matrix of {len(names)} classes")


def _cell(axes: Axes, true: int, predicted: int, count: int, total: float) -> None:
    share = count / total
    right = true == predicted
    # A mistake is rare, so its shade grows with the square root: 1 % is seen, 25 % is half.
    shade = 0.12 + 0.78 * (share if right else share**0.5)
    axes.fill_between(
        [predicted - 0.48, predicted + 0.48],
        true - 0.48,
        true + 0.48,
        color=svg.BLUE if right else svg.ORANGE,
        alpha=shade,
        lw=0,
    )
    axes.text(
        predicted,
        true,
        f"{count}",
        ha="center",
        va="center",
        fontsize=8,
        color=svg.PAPER if shade > 0.55 else svg.INK,
    )


def _short(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + "…"
