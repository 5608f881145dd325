"""Report -> report.md: the answer and two tables, short enough for a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from toolchain.measurement import Measurement
from toolchain.report import words
from toolchain.report.model import Report
from toolchain.report.short import in_short
from toolchain.values import FileVerification

_SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_[]|#~"})


def render_markdown(report: Report) -> str:
    """GitHub-flavoured Markdown; names are escaped so that none becomes markup."""
    parts = [f"# {escape(report.name)}", f"**{words.verdict(report)}.**", *_choices(report)]
    parts.append("\n".join(f"- {escape(line)}" for line in in_short(report)))
    parts += [_files(report), _failures(report.verification.files)]
    if report.client_resize:
        parts.append(escape(" ".join(words.resized_otherwise(report.client_resize))))
    if report.benchmark:
        parts += [_speed(report.benchmark.measurements)]
        machine = report.benchmark.machine
        parts.append(f"Measured on {escape(machine.get('processor', 'an unknown processor'))}.")
    for one in report.phones:
        parts += [f"On a phone, {escape(words.phone(one))}:", _speed(one.measurements)]
    parts.append(f"Made with toolchain {report.toolchain}; again with:\n\n    {report.command}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _choices(report: Report) -> list[str]:
    return [
        f"- **.{choice.format}: {escape(choice.file) or 'none'}.** {escape(choice.reason)}"
        for choice in report.choices
    ]


def _files(report: Report) -> str:
    header = ("file", "verify", "accuracy", "95 %", "agreement", "largest difference")
    rows = (
        (
            escape(file.file),
            "missed" if file.failures else "passed",
            words.percent(file.accuracy.value),
            words.interval(file.accuracy),
            words.percent(file.agreement),
            f"{file.max_difference:.2g}",
        )
        for file in report.verification.files
    )
    return table(header, rows)


def _failures(files: Sequence[FileVerification]) -> str:
    lines = (f"- {escape(file.file)}: {escape(why)}" for file in files for why in file.failures)
    return "\n".join(lines)


def _speed(measurements: Sequence[Measurement]) -> str:
    header = ("file", "run by", "size", "p50 ms", "p90", "p99", "images/s", "peak MiB")
    return table(header, (_measured(row) for row in measurements))


def _measured(row: Measurement) -> tuple[str, ...]:
    numbers: tuple[str, ...] = (escape(row.failure), "", "", "", "")
    if row.latency is not None:
        numbers = (
            words.milliseconds(row.latency.p50_ms),
            words.milliseconds(row.latency.p90_ms),
            words.milliseconds(row.latency.p99_ms),
            f"{row.latency.throughput.value:,.0f}",
            words.whole(row.peak_mib),
        )
    return escape(row.file), words.setup(row), words.megabytes(row.bytes), *numbers


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is text; the cells are Markdown already."""
    align = ["---", *("---:" for _ in header[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, align, *rows))


def escape(text: str) -> str:
    """Any text as one line that no reader of Markdown takes for markup."""
    plain = " ".join(text.split()).translate(_SPECIAL)
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
