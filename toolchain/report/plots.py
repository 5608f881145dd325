"""The drawings of a report, each an `<svg>` text: curves, confusion matrix, accuracy and speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from toolchain.report import svg
from toolchain.values import EpochRecord, FileVerification

PHASES: Final = {"train": "train", "fine_tune": "fine-tune", "quantize": "QAT"}
# Beyond this a matrix cannot be read on a page; the most confused pairs are listed instead.
MAX_CLASSES: Final = 40
# Up to so many a matrix fits beside a table, and on a phone.
FEW_CLASSES: Final = 12


@dataclass(frozen=True, slots=True)
class Point:
    """A file as it was run: what to call it, its p50 in milliseconds, how accurate it is."""

    label: str
    p50_ms: float
    file: FileVerification


_SIZE: Final = (4.4, 2.9)
_NAME_LENGTH: Final = 18
# Of the labels beside points, as a share of the axes' width: 8.5 points in 4 inches.
_LETTER_WIDTH: Final = 0.0168


def curves(history: Sequence[EpochRecord], marked: Sequence[int]) -> tuple[str, str]:
    """Loss and accuracy over all epochs, the phases set apart.

    Args:
      history: of training and quantization, one after the other.
      marked: positions in it of the epochs whose weights were taken.
    """
    loss = _curve(history, marked, "loss", "loss")
    accuracy = _curve(history, marked, "accuracy", "accuracy, %")
    return loss, accuracy


def _curve(history: Sequence[EpochRecord], marked: Sequence[int], field: str, title: str) -> str:
    scale = 100.0 if field == "accuracy" else 1.0
    train = scale * np.array([getattr(record, field) for record in history])
    validation = scale * np.array([getattr(record, f"validation_{field}") for record in history])
    epochs = np.arange(1, len(history) + 1)
    with svg.house_style():
        figure = Figure(figsize=_SIZE)
        axes = figure.subplots()
        dot = "o" if len(history) <= 12 else ""
        axes.plot(epochs, train, color=svg.ORANGE, marker=dot, ms=3, lw=1.4, label="train")
        axes.plot(epochs, validation, color=svg.BLUE, marker=dot, ms=3, lw=1.8, label="validation")
        at = list(marked)
        axes.plot(
            epochs[at], validation[at], "o", ms=8, mfc="none", mec=svg.BLUE, label="weights taken"
        )
        axes.margins(x=0.03, y=0.12)
        _mark_phases(axes, history, bottom=field == "accuracy")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        axes.set_title(title, pad=25)
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, columnspacing=1.2)
        return svg.to_svg(figure, field, f"{title} over {len(history)} epochs")


def _mark_phases(axes: Axes, history: Sequence[EpochRecord], bottom: bool) -> None:
    """A line where a later phase begins, its name along it, away from where the curves end."""
    for at in range(1, len(history)):
        phase = history[at].phase
        if history[at - 1].phase == phase:
            continue
        axes.axvline(at + 0.5, color=svg.MUTED, lw=0.8, ls=(0, (2, 2)))
        axes.text(
            at + 0.5,
            0.03 if bottom else 0.97,
            " " + PHASES.get(phase, phase),
            transform=axes.get_xaxis_transform(),
            rotation=90,
            va="bottom" if bottom else "top",
            ha="left",
            color=svg.MUTED,
            fontsize=8,
        )


def confusion(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """A confusion matrix: what is right in blue, mistakes in orange, shaded by share of the row.

    Args:
      classes: at most `MAX_CLASSES` names.
      counts: counts[true][predicted].
    """
    names = [_short(name) for name in classes]
    matrix = np.asarray(counts, dtype=np.int64)
    side = max(2.6, 0.36 * len(names)) if len(names) <= FEW_CLASSES else 0.3 * len(names)
    with svg.house_style():
        figure = Figure(figsize=(side + 0.6, side + 0.6))
        axes = figure.subplots()
        for true, row in enumerate(matrix):
            for predicted in np.flatnonzero(row):
                _cell(axes, true, int(predicted), int(row[predicted]), float(row.sum()))
        axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5), aspect="equal")
        upright = 90 if max(map(len, names)) > 3 else 0
        axes.set_xticks(range(len(names)), names, rotation=upright)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0)
        axes.grid(False)
        axes.spines[:].set_visible(True)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        return svg.to_svg(figure, "confusion", f"confusion matrix of {len(names)} classes")


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


def accuracy_against_latency(points: Sequence[Point]) -> str:
    """Accuracy with its 95 % interval against p50 latency; up and to the left is better."""
    with svg.house_style():
        figure = Figure(figsize=(4.8, 3.1))
        axes = figure.subplots()
        for point in points:
            _point(axes, point)
        _latency_axis(axes, [point.p50_ms for point in points])
        axes.margins(y=0.06)
        _label_points(axes, points)
        axes.set_xlabel("p50 latency of one image, ms")
        axes.set_ylabel("top-1 accuracy, %")
        return svg.to_svg(figure, "speed", "accuracy against latency of every file")


def _point(axes: Axes, point: Point) -> None:
    file = point.file
    value, low, high = (
        100 * share for share in (file.accuracy.value, file.accuracy.low, file.accuracy.high)
    )
    color = svg.BLUE if file.format == "tflite" else svg.ORANGE
    axes.errorbar(
        point.p50_ms,
        value,
        yerr=[[value - low], [high - value]],
        fmt="o" if file.format == "tflite" else "s",
        ms=6,
        color=color,
        mfc=color if file.precision.startswith("int8") else "none",
        elinewidth=1.2,
        capsize=3,
    )


def _latency_axis(axes: Axes, latencies: Sequence[float]) -> None:
    # From zero a distance is a ratio of speeds; beyond a factor of 8 only a log axis shows both.
    low, high = min(latencies), max(latencies)
    if high > 8 * low:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.6, high * 3)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.set_xlim(0, high * 1.45)


def _label_points(axes: Axes, points: Sequence[Point]) -> None:
    """Each label above the axes, a line leading down to its point.

    Placed from the right: a label that would cover the lines of points right of it goes one row
    above theirs, so nothing crosses. Places are in the axes' own units, 0..1 in both directions.
    """
    to_axes = axes.transData + axes.transAxes.inverted()
    placed: list[tuple[float, int]] = []
    for point in sorted(points, key=lambda point: -point.p50_ms):
        x, cap = to_axes.transform((point.p50_ms, 100 * point.file.accuracy.high))
        end = x + _LETTER_WIDTH * (len(point.label) + 1)
        row = max((row + 1 for other, row in placed if other < end), default=0)
        placed.append((x, row))
        top = 1.05 + 0.075 * row
        in_axes: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
        axes.plot([x, x], [cap + 0.015, top + 0.02], color=svg.MUTED, lw=0.6, **in_axes)
        axes.text(x + 0.008, top, point.label, va="center", fontsize=8.5, **in_axes)


def _short(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + "…"
