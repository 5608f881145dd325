"""A matplotlib figure -> SVG text that takes its colours from the page around it.

Figures are drawn with stand-in colours, one a role; here each becomes a CSS variable, so that one
drawing serves light, dark and paper.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

INK: Final = "#010203"
MUTED: Final = "#040506"
LINE: Final = "#070809"
PAPER: Final = "#0a0b0c"
BLUE: Final = "#0d0e0f"
ORANGE: Final = "#101112"
_VARIABLES: Final = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    PAPER: "var(--paper)",
    BLUE: "var(--blue)",
    ORANGE: "var(--orange)",
}
_STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "toolchain",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.6,
    "grid.color": LINE,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "text.parse_math": False,
    "text.usetex": False,
}
# Letters of 9 points then have the size of the page's small print.
_PIXELS_PER_POINT: Final = 1.5
_NO_METADATA: Final = {"Date": None, "Creator": None, "Format": None, "Type": None}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw with the stand-in colours; text is text (`$` is no formula), metadata stays out."""
    with warnings.catch_warnings(), mpl.rc_context(_STYLE):
        # Class names may hold letters that matplotlib's own font lacks; the reader's has them.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def to_svg(figure: Figure, name: str, label: str) -> str:
    """The figure as an `<svg>` element to stand inside HTML.

    Args:
      name: made part of every id, because a page holds several drawings.
      label: what it shows, for a screen reader.
    """
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", metadata=_NO_METADATA, bbox_inches="tight", pad_inches=0.04
    )
    text = buffer.getvalue()
    opening = re.search(r'<svg[^>]*viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>', text)
    if opening is None:
        raise RuntimeError("expected an <svg> with a viewBox from matplotlib, found none")
    # matplotlib's own <style> would hold for the whole page.
    body = re.sub(r"<style.*?</style>", "", text[opening.end() :], count=1, flags=re.DOTALL)
    # Only what stands between < and > is ours to change: a class may be called anything.
    body = re.sub(r"<[^>]+>", lambda tag: _adopt(tag.group(), name), body)
    width, height = opening.groups()
    return (
        f'<svg role="img" aria-label="{html.escape(label)}" viewBox="0 0 {width} {height}" '
        f'style="width:{float(width) * _PIXELS_PER_POINT:.0f}px">{body}'
    )


def _adopt(tag: str, name: str) -> str:
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = tag.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    tag = re.sub(r"font-family: [^;\"]*;?", "", tag)
    for stand_in, variable in _VARIABLES.items():
        tag = tag.replace(stand_in, variable)
    return tag
