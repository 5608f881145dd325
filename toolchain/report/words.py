"""Numbers as a reader meets them, the same in HTML and Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolchain.values import Interval, Measurement

if TYPE_CHECKING:
    from toolchain.report.model import Report

NOTHING = "–"


def percent(share: float | None, digits: int = 1) -> str:
    """0..1 as "98.1 %"; never rounded up to 100 or down to 0."""
    if share is None:
        return NOTHING
    least = 10**-digits
    shown = round(100 * share, digits)
    if share < 1 and shown == 100:
        return f"> {100 - least:.{digits}f} %"
    if share > 0 and shown == 0:
        return f"< {least:.{digits}f} %"
    return f"{shown:.{digits}f} %"


def interval(share: Interval) -> str:
    """The 95 % interval of a share, "97.0 to 98.8"."""
    return f"{100 * share.low:.1f} to {100 * share.high:.1f}"


def milliseconds(value: float | Interval | None) -> str:
    """Three digits that count: "0.213", "1.96", "111"; of an interval its middle number."""
    if value is None:
        return NOTHING
    if isinstance(value, Interval):
        value = value.value
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


def megabytes(count: int | None) -> str:
    """Bytes as "2.6 MB" (10^6 bytes)."""
    if count is None:
        return NOTHING
    return f"{count / 1e6:.2f} MB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def whole(value: float | None) -> str:
    """A number without decimals, "1,234"."""
    return NOTHING if value is None else f"{value:,.0f}"


def setup(row: Measurement) -> str:
    """What ran a file: "litert, cpu, 1 thread", with the batch where it is not one image."""
    threads = f"{row.threads} thread" + ("" if row.threads == 1 else "s")
    batch = "" if row.batch == 1 else f", batch {row.batch}"
    return f"{row.runtime}, {row.provider}, {threads}{batch}"


def verdict(report: Report) -> str:
    """One sentence: did every file pass?"""
    files = report.verification.files
    missed = sum(bool(file.failures) for file in files)
    images = max((file.images for file in files), default=0)
    if missed:
        return f"{missed} of {len(files)} files missed a gate on {images:,} test images"
    return f"All {len(files)} files passed every gate on {images:,} test images"


def settings(report: Report) -> list[tuple[str, str]]:
    """The recipe as (key, value), keys dotted as --set takes them."""
    return [pair for section, value in report.recipe.items() for pair in _flat(section, value)]


def _flat(key: str, value: object) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for name, item in value.items() for pair in _flat(f"{key}.{name}", item)]
    if isinstance(value, bool):
        return [(key, str(value).lower())]
    if isinstance(value, list | tuple):
        return [(key, ", ".join(map(str, value)) or "none")]
    return [(key, str(value))]
