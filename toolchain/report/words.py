"""Numbers as a reader meets them, the same in HTML and Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from toolchain.measurement import Benchmark, Comparison, Measurement
from toolchain.values import FileVerification, Interval

if TYPE_CHECKING:
    from toolchain.evidence import ClientResize
    from toolchain.report.calibration import Calibration, CalibrationChange
    from toolchain.report.gallery import Flips
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


def phone(session: Benchmark) -> str:
    """Which phone a session was on: "Pixel 7 (android 14, processor Tensor G2)"."""
    known = dict(session.machine)
    name = known.pop("phone", "unknown")
    if not known:
        return name
    return f"{name} ({', '.join(f'{what} {text}' for what, text in known.items())})"


def milliseconds_interval(value: Interval | None) -> str:
    """The 95 % interval of a latency, "0.301 to 0.312"."""
    if value is None:
        return NOTHING
    return f"{milliseconds(value.low)} to {milliseconds(value.high)}"


def brief(file: str, run: str) -> str:
    """A file's name without its run's, for a page about this run alone."""
    return file.removeprefix(f"{run}.")


def count(number: int, what: str) -> str:
    """ "1 photo", "1,002 photos"."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """ "48 s", "12 min", "3 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def moment(date: str) -> str:
    """ISO 8601 in UTC as "2026-01-02 03:04 UTC"; anything else as it is."""
    try:
        return datetime.fromisoformat(date).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return date


def verdict(report: Report) -> str:
    """One sentence: did every file pass?"""
    files = report.verification.files
    missed = sum(bool(file.failures) for file in files)
    images = max((file.images for file in files), default=0)
    if missed:
        return f"{missed} of {len(files)} files missed a gate on {images:,} test images"
    return f"All {len(files)} files passed every gate on {images:,} test images"


def flipped(flips: Flips) -> str:
    """One sentence on what quantization changed."""
    if not flips.flips:
        return f"{flips.other} calls all {flips.photos:,} test photos as {flips.base} does."
    parts = [
        text
        for effect, text in (
            ("lost", f"{flips.count('lost'):,} right before and wrong after"),
            ("gained", f"{flips.count('gained'):,} wrong before and right after"),
            ("as wrong", f"{flips.count('as wrong'):,} wrong both times"),
        )
        if flips.count(effect)
    ]
    return (
        f"{flips.other} calls {len(flips.flips):,} of {flips.photos:,} test photos otherwise than "
        f"{flips.base}: {', '.join(parts)}."
    )


def paired(file: FileVerification) -> str:
    """One sentence on whether a file is less accurate than the float one; empty for that one."""
    found = file.paired
    if found is None or file.precision == "fp32":
        return ""
    change = found.difference
    told = "the photos do not tell the two apart"
    if change.high < 0 or change.low > 0:
        told = f"it is {'less' if change.high < 0 else 'more'} accurate"
    return (
        f"On the same photos its accuracy differs from that of {found.baseline} by "
        f"{100 * change.value:+.2f} points (95 % interval {100 * change.low:+.2f} to "
        f"{100 * change.high:+.2f}, McNemar p = {found.p_value:.2g}): {told}."
    )


def believed(calibration: Calibration) -> str:
    """One sentence on whether a file is as right as it is sure."""
    sure, right = percent(calibration.confidence), percent(calibration.accuracy)
    points = 100 * (calibration.confidence - calibration.accuracy)
    how = "about as sure as it is right"
    if abs(points) >= 1:
        how = f"{abs(points):.1f} points {'too sure' if points > 0 else 'too modest'}"
    return (
        f"{calibration.file} is {how}: {sure} sure on average, {right} right; "
        f"expected calibration error {100 * calibration.error:.2f} points."
    )


def calibration_changed(change: CalibrationChange) -> str:
    """One sentence on what quantization did to the calibration error."""
    found = change.difference
    if not change.conclusive:
        end = "the photos are too few to tell whether quantization changed it"
    else:
        end = f"quantization made it {'worse' if found.value > 0 else 'better'}"
    return (
        f"From {change.base} to {change.other} the error changes by {100 * found.value:+.2f} "
        f"points (95 % interval {100 * found.low:+.2f} to {100 * found.high:+.2f}): {end}."
    )


def resized_otherwise(found: ClientResize) -> list[str]:
    """What MediaPipe's own resize changes: a sentence on the pixels, one on each file."""
    first = (
        f"MediaPipe's tasks resize in a way of their own, without averaging. On "
        f"{count(found.photos, 'test photo')} a byte of the input then differs by "
        f"{found.byte_difference:.1f} of 255 on average."
    )
    return [first] + [
        f"{file}: {percent(effect.agreement)} keep their class, accuracy "
        f"{percent(effect.accuracy_before)} with our resize and {percent(effect.accuracy)} with "
        f"MediaPipe's, a probability moves by {effect.mean_difference:.2g} on average."
        for file, effect in found.files.items()
    ]


def faster(one: Comparison) -> str:
    """A difference in speed in words: "1.42× faster (1.38 to 1.46)", or that there is none."""
    if one.verdict not in ("faster", "slower"):
        return f"{one.verdict} (ratio {one.ratio.low:.2f} to {one.ratio.high:.2f})"
    low, value, high = sorted(
        1 / r if one.verdict == "faster" else r
        for r in (one.ratio.low, one.ratio.value, one.ratio.high)
    )
    return f"{value:.2f}× {one.verdict} ({low:.2f} to {high:.2f})"


def flat_settings(recipe: Mapping[str, object]) -> list[tuple[str, str]]:
    """A recipe as (key, value), keys dotted as --set takes them."""
    return [pair for section, value in recipe.items() for pair in _flat(section, value)]


def _flat(key: str, value: object) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for name, item in value.items() for pair in _flat(f"{key}.{name}", item)]
    if isinstance(value, bool):
        return [(key, str(value).lower())]
    if isinstance(value, list | tuple):
        return [(key, ", ".join(map(str, value)) or "none")]
    return [(key, str(value))]
