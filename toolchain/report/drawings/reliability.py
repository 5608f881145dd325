"""Reliability: how often a file is right when it is so sure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toolchain.report.calibration import BINS, Bin, Calibration
from toolchain.report.drawings import svg

_SIZE: Final = (4.3, 3.5)
_MARKS: Final = ((svg.ORANGE, "s", "none"), (svg.BLUE, "o", svg.BLUE))


def reliability(float_file: Calibration | None, other: Calibration | None) -> str:
    """Accuracy against confidence of up to two files; on the diagonal both are the same.

    Args:
      float_file: drawn in orange, hollow squares.
      other: drawn in blue, filled dots.
    """
    series = [(one, *mark) for one, mark in zip((float_file, other), _MARKS, strict=True) if one]
    with svg.house_style():
        figure = Figure(figsize=_SIZE)
        above, axes = figure.subplots(
            2, 1, sharex=True, height_ratios=(1, 4), gridspec_kw={"hspace": 0.08}
        )
        least = 100 * min(b.confidence for one, *_ in series for b in one.bins)
        axes.plot([0, 100], [0, 100], color=svg.MUTED, lw=0.8, ls=(0, (3, 3)))
        for order, (one, color, mark, fill) in enumerate(series):
            # Half a point aside, so that the bars of two files do not cover one another.
            aside = 0.0 if len(series) == 1 else (order - 0.5) * 1.1
            _dots(axes, one.bins, aside, color, mark, fill)
        start = max(0.0, least - 6)
        axes.set(xlim=(start, 103), ylim=(-3, 104))
        axes.set_xlabel("confidence, %")
        axes.set_ylabel("right, %")
        _counts(above, series[-1][0].bins)
        return svg.to_svg(figure, "reliability", "accuracy against confidence")


def _dots(axes: Axes, bins: Sequence[Bin], aside: float, color: str, mark: str, fill: str) -> None:
    for one in bins:
        value, low, high = (
            100 * share for share in (one.accuracy.value, one.accuracy.low, one.accuracy.high)
        )
        axes.errorbar(
            100 * one.confidence + aside,
            value,
            yerr=[[max(0.0, value - low)], [max(0.0, high - value)]],
            fmt=mark,
            ms=5,
            color=color,
            mfc=fill,
            elinewidth=1.1,
        )


def _counts(axes: Axes, bins: Sequence[Bin]) -> None:
    """How many photos stand behind the dots, on a scale on which a few are still seen."""
    counts = [one.count for one in bins]
    centres = [100 * (int(min(one.confidence, 0.9999) * BINS) + 0.5) / BINS for one in bins]
    axes.bar(centres, [count**0.5 for count in counts], width=85 / BINS, color=svg.LINE)
    for centre, count in zip(centres, counts, strict=True):
        axes.text(
            centre, count**0.5, f"{count}", ha="center", va="bottom", fontsize=7.5, color=svg.MUTED
        )
    axes.set_ylim(0, 1.35 * max(counts) ** 0.5)
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelbottom=False)
    axes.set_title("photos", fontsize=8.5, fontweight="normal", color=svg.MUTED, pad=2)
