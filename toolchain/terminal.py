"""What a person sees: progress, tables and messages on stderr; answers for programs on stdout.

Native libraries write to file descriptor 2 whatever Python does, so `native_log` points that
descriptor at a log file while our own console keeps a duplicate of the real one.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from toolchain.errors import printable

if TYPE_CHECKING:
    from rich.console import Console

Item = TypeVar("Item")
_A_LINE_EVERY_S: Final = 60.0
_console: Console | None = None


def console() -> Console:
    """The one console, on stderr; made at first use because rich takes 50 ms to import."""
    global _console
    if _console is None:
        from rich.console import Console

        # A duplicate that outlives native_log's redirection; line buffered like stderr itself.
        stream = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace")
        width = None if stream.isatty() else 110
        _console = Console(file=stream, highlight=False, width=width)
    return _console


@contextlib.contextmanager
def native_log(path: Path) -> Iterator[None]:
    """Sends stdout and stderr of native code, and of Python libraries, to the end of `path`.

    The folder of `path` must exist.
    """
    console()
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with path.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for target, descriptor in enumerate(saved, start=1):
            os.dup2(descriptor, target)
            os.close(descriptor)


def track(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Iterate with a progress bar that appears after a moment and leaves no trace.

    In a log file, where every refresh of a bar would stay, one line a minute says how far it is.
    """
    from rich.progress import track as rich_track

    if total is None and isinstance(items, Sequence):
        total = len(items)
    if not console().is_terminal:
        yield from _track_in_lines(items, label, total)
        return
    yield from rich_track(
        items, label, total=total, console=console(), transient=True, update_period=0.5
    )


def _track_in_lines(items: Iterable[Item], label: str, total: int | None) -> Iterator[Item]:
    started = told = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - told >= _A_LINE_EVERY_S:
            told = now
            say(f"{label}: {_so_far(done, total, now - started)}")
        yield item


def _so_far(done: int, total: int | None, seconds: float) -> str:
    """How much of some work is done after so many seconds, and how long the rest will take."""
    if not total:
        return f"{done:,}"
    left = seconds / done * (total - done)
    rest = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
    return f"{done / total:.0%}, about {rest} left"


@contextlib.contextmanager
def working(label: str) -> Iterator[None]:
    """A spinner for a step whose length nobody knows."""
    with console().status(label):
        yield


def say(text: str) -> None:
    """One line for the person; what foreign files say in it is shown as it is (see `plain`)."""
    console().print(plain(text), soft_wrap=True, markup=False, emoji=False)


def plain(text: str) -> str:
    """Text whose control characters, which would drive the terminal, are replaced."""
    return printable(text)


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1
) -> None:
    """A short table; the first `texts` columns are text, the others are numbers.

    Title and cells may come from foreign files: they are shown without markup (see `plain`).
    """
    from rich.table import Table
    from rich.text import Text

    drawn = Table(
        title=Text(plain(title)), title_justify="left", title_style="bold", box=None, pad_edge=False
    )
    for position, column in enumerate(columns):
        drawn.add_column(column, justify="left" if position < texts else "right")
    for row in rows:
        drawn.add_row(*(Text(plain(cell)) for cell in row))
    console().print(drawn)
