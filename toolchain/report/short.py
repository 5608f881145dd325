"""What a reader in a hurry should know beside which file to ship."""

from __future__ import annotations

from toolchain.report import words
from toolchain.report.model import Report


def in_short(report: Report) -> list[str]:
    """What a reader in a hurry should know beside the answer: a sentence each."""
    lines = []
    if report.gallery and report.gallery.flips:
        lines.append(words.flipped(report.gallery.flips))
    if report.overfitting:
        lines.append(report.overfitting.verdict)
    if report.calibrations:
        lines.append(words.believed(report.calibrations[-1]))
    if report.benchmark and report.benchmark.noise and report.benchmark.noise.verdict != "quiet":
        lines.append("The machine was busy while the files were timed: see Speed and memory.")
    if report.data.skipped:
        lines.append(f"{words.count(len(report.data.skipped), 'photo')} left out: see Data.")
    return lines
