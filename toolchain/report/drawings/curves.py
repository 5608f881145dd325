"""Loss and accuracy over the epochs, the phases side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from toolchain.report.drawings import svg
from toolchain.values import EpochRecord

PHASES: Final = {
    "train": "head",
    "fine_tune": "fine-tune",
    "prune": "prune",
    "cluster": "cluster",
    "quantize": "QAT",
}
_SIZE: Final = (4.1, 2.8)
# Up to so many epochs each gets a dot.
_FEW_EPOCHS: Final = 15
# A phase narrower than this share of the axes has its name upright.
_NARROW: Final = 0.17


def training_curves(history: Sequence[EpochRecord], marked: Sequence[int]) -> tuple[str, str]:
    """Accuracy and loss over all epochs.

    Args:
      history: of training and quantization, one after the other; at least one record.
      marked: positions in it of the epochs whose weights were taken.
    """
    return (
        _curve(history, marked, "accuracy", "Accuracy, %", 100.0),
        _curve(history, marked, "loss", "Loss", 1.0),
    )


def _curve(
    history: Sequence[EpochRecord], marked: Sequence[int], field: str, title: str, scale: float
) -> str:
    # Epoch 0 is a phase's start: measured on validation, never trained.
    values = (getattr(record, field) if record.epoch else np.nan for record in history)
    train = scale * np.fromiter(values, float, len(history))
    validation = scale * np.array([getattr(record, f"validation_{field}") for record in history])
    epochs = np.arange(1, len(history) + 1)
    with svg.house_style():
        figure = Figure(figsize=_SIZE)
        axes = figure.subplots()
        dot = "o" if len(history) <= _FEW_EPOCHS else ""
        axes.plot(epochs, train, color=svg.ORANGE, marker=dot, ms=3, lw=1.4)
        axes.plot(epochs, validation, color=svg.BLUE, marker=dot, ms=3, lw=1.8)
        at = list(marked)
        axes.plot(epochs[at], validation[at], "o", ms=9, mfc="none", mec=svg.INK, mew=1.2)
        axes.margins(y=0.12)
        axes.set_xlim(0.5, len(history) + 0.5)
        _name_phases(axes, history)
        _name_lines(axes, epochs, train, validation)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="x", visible=False)
        axes.set_xlabel("epoch")
        axes.set_title(title, pad=20)
        return svg.to_svg(figure, field, f"{title} over {len(history)} epochs")


def _name_phases(axes: Axes, history: Sequence[EpochRecord]) -> None:
    """Each phase's name above it, every second phase on a faint band."""
    start = 0
    for order, (phase, records) in enumerate(groupby(record.phase for record in history)):
        count = len(list(records))
        if order % 2:
            axes.axvspan(start + 0.5, start + count + 0.5, color=svg.LINE, alpha=0.35, lw=0)
        narrow = count / len(history) < _NARROW
        axes.text(
            start + 0.5 + count / 2,
            0.97 if narrow else 1.02,
            PHASES.get(phase, phase),
            transform=axes.get_xaxis_transform(),
            rotation=90 if narrow else 0,
            ha="center",
            va="top" if narrow else "bottom",
            color=svg.MUTED,
            fontsize=8.5,
        )
        start += count


def _name_lines(
    axes: Axes,
    epochs: NDArray[np.int64],
    train: NDArray[np.float64],
    validation: NDArray[np.float64],
) -> None:
    """Names right of where the lines end; moved apart where they end close together."""
    low, high = axes.get_ylim()
    least = 0.07 * (high - low)
    trained = train[np.isfinite(train)]
    ends = [("validation", float(validation[-1]), svg.BLUE)]
    if len(trained):
        ends.append(("train", float(trained[-1]), svg.ORANGE))
    ends.sort(key=lambda end: end[1])
    if len(ends) == 2 and ends[1][1] - ends[0][1] < least:
        middle = (ends[0][1] + ends[1][1]) / 2
        ends = [
            (name, middle + (at - 0.5) * least, color) for at, (name, _, color) in enumerate(ends)
        ]
    for name, y, color in ends:
        axes.annotate(
            name,
            (epochs[-1] + 0.5, y),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=color,
            annotation_clip=False,
        )
