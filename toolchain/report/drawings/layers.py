"""Which layers lose most when they are quantized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from matplotlib.figure import Figure

from toolchain.report.drawings import svg

_WIDTH: Final = 4.3


def layer_errors(layers: Sequence[tuple[str, float]]) -> str:
    """Signal to quantization noise of each layer, decibels; further left is worse.

    Args:
      layers: (name, dB), the worst first; at least one.
    """
    names, values = zip(*reversed(layers), strict=True)
    with svg.house_style():
        figure = Figure(figsize=(_WIDTH, 0.7 + 0.22 * len(layers)))
        axes = figure.subplots()
        places = range(len(layers))
        axes.hlines(places, 0, values, color=svg.LINE, lw=1.2)
        axes.plot(values, places, "o", ms=6, color=svg.BLUE)
        for place, value in zip(places, values, strict=True):
            axes.annotate(
                f"{value:.1f}",
                (value, place),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
            )
        axes.set_yticks(places, names)
        axes.set_ylim(-0.7, len(layers) - 0.3)
        axes.set_xlim(min(0.0, *values), 1.15 * max(*values, 1.0))
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("signal to quantization noise, dB")
        return svg.to_svg(figure, "layers", "quantization error of the worst layers")
