"""ComparedRuns -> comparison.html, comparison.md, comparison.json."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from markupsafe import Markup

from toolchain.report import drawings, words
from toolchain.report.comparison import ComparedRun, ComparedRuns, Difference
from toolchain.report.html import render_page
from toolchain.report.markdown import escape, table
from toolchain.report.write import write_pages

# Beyond these the matrices of several runs are no longer a picture.
MAX_MATRICES: Final = 12
MAX_SETTINGS: Final = 60
HEADER: Final = (
    "run", "photos", "float", "ships", "top-1", "95 %", "precision", "recall", "F1", "size",
    "p50 ms", "training",
)  # fmt: skip
_NOTE: Final = (
    "Of the file that each run's report says to ship; precision, recall and F1 are means over the "
    "classes with photos or answers; training is the time of all features and epochs, "
    "quantization's too."
)

# Verdict of a difference -> a sentence about the runs that have it.
_TOLD: Final = {
    "inconclusive": "The photos in common do not tell {best} from {runs}.",
    "better": "On the photos in common more accurate than {best}: {runs}.",
    "worse": "On the photos in common less accurate than {best}: {runs}.",
    "unknown": "Not known is the difference between {best} and {runs}.",
}


def write_comparison(comparison: ComparedRuns, folder: Path) -> None:
    """Write the three files into `folder`.

    Raises:
      MachineError: the disk is full or the place cannot be written.
    """
    write_pages(
        folder,
        "comparison",
        render_comparison(comparison),
        comparison_markdown(comparison),
        comparison.to_json(),
    )


def render_comparison(comparison: ComparedRuns) -> str:
    """The page; every text of the runs is escaped by the template."""
    content = {
        "comparison": comparison,
        "verdict": verdict(comparison),
        "header": HEADER,
        "note": _NOTE,
        "rows": rows(comparison),
        "differences": [(one.run, one.images, difference(one)) for one in comparison.differences],
        "drawings": {name: Markup(text) for name, text in _drawings(comparison).items()},  # noqa: S704
        "matrices": [(name, Markup(text)) for name, text in _matrices(comparison)],  # noqa: S704
        "per_class": _per_class(comparison),
        "max_settings": MAX_SETTINGS,
    }
    return render_page("comparison.html.j2", content)


def comparison_markdown(comparison: ComparedRuns) -> str:
    """The verdict, the table and the differences."""
    names = ", ".join(run.name for run in comparison.runs)
    parts = [f"# {escape(names)}", f"**{escape(verdict(comparison))}**"]
    parts.append(table(HEADER, ([escape(cell) for cell in row] for row in rows(comparison))))
    parts.append(escape(_NOTE))
    lines = (f"- {escape(one.run)}: {difference(one)}" for one in comparison.differences)
    parts.append("\n".join(lines))
    parts.append(f"Again with:\n\n    {comparison.command}")
    return "\n\n".join(parts) + "\n"


def verdict(comparison: ComparedRuns) -> str:
    """Which is best, where runs have the same photos, and what the photos tell of the others."""
    best, others = comparison.runs[comparison.best], comparison.differences
    rivals = [one.run for one in others if one.same_photos]
    among = "" if comparison.same_photos else f" of the runs with its photos ({', '.join(rivals)})"
    accuracy = words.percent(best.shipped.accuracy.value)
    text = f"{best.name} is the most accurate{among}: {accuracy} on {best.images:,} test photos."
    if not rivals:
        text = "No two runs have the same test photos and classes: none is called most accurate."
    for found, told in _TOLD.items():
        # That a run of the same photos is worse is said already.
        named = [
            one.run
            for one in others
            if one.verdict == found and not (one.same_photos and found == "worse")
        ]
        if named:
            text += f" {told.format(runs=', '.join(named), best=best.name)}"
    return text


def difference(one: Difference) -> str:
    """A run against the best in words."""
    if one.difference is None or one.p_value is None:
        missing = "answers to single photos" if one.same_photos else "test photos"
        return f"no {missing} in common with {one.best}"
    found = one.difference
    points = f"{100 * found.value:+.2f} points ({100 * found.low:+.2f} to {100 * found.high:+.2f})"
    on = f"on {one.images:,} photos, p = {one.p_value:.2g}"
    return f"{points} against {one.best} {on}: {one.verdict}"


def rows(comparison: ComparedRuns) -> list[tuple[str, ...]]:
    """The table of `HEADER`; latencies that do not compare say where they were measured."""
    return [_cells(run, where=not comparison.same_timing) for run in comparison.runs]


def _cells(run: ComparedRun, *, where: bool) -> tuple[str, ...]:
    place = f" ({run.timed_on or 'unknown machine'})" if where and run.p50_ms else ""
    return (
        run.name,
        f"{run.images:,}",
        words.percent(run.float_file.accuracy.value if run.float_file else None),
        f"{run.shipped.precision} .{run.shipped.format}",
        words.percent(run.shipped.accuracy.value),
        words.interval(run.shipped.accuracy),
        words.percent(run.precision),
        words.percent(run.recall),
        words.percent(run.f1),
        words.megabytes(run.bytes),
        words.milliseconds(run.p50_ms) + place,
        words.duration(run.seconds),
    )


def _drawings(comparison: ComparedRuns) -> dict[str, str]:
    accuracies = [
        drawings.Row(
            run.name,
            (
                *([drawings.Dot(run.float_file.accuracy, blue=False)] if run.float_file else []),
                drawings.Dot(run.shipped.accuracy, blue=True),
            ),
        )
        for run in comparison.runs
    ]
    points = [
        drawings.Point(run.name, run.p50_ms, run.shipped.accuracy, blue=True, filled=True)
        for run in comparison.runs
        if run.p50_ms
    ]
    return {
        "accuracy": drawings.interval_rows(accuracies, "top-1 accuracy, %"),
        "speed": drawings.tradeoff(points, "p50 latency of one image, ms")
        if len(points) > 1 and comparison.same_timing
        else "",
    }


def _matrices(comparison: ComparedRuns) -> Iterable[tuple[str, str]]:
    for at, run in enumerate(comparison.runs[:MAX_MATRICES]):
        if len(run.per_class) <= drawings.FEW_CLASSES:
            names = [row.name for row in run.per_class]
            matrix = drawings.confusion_matrix(names, run.shipped.confusion, f"confusion{at}")
            yield run.name, matrix


def _per_class(comparison: ComparedRuns) -> list[tuple[str, list[str]]]:
    """Class -> F1 in every run; empty when they do not have the same classes."""
    classes = [tuple(row.name for row in run.per_class) for run in comparison.runs]
    if len(set(classes)) > 1:
        return []
    return [
        (name, [words.percent(run.per_class[at].f1) for run in comparison.runs])
        for at, name in enumerate(classes[0])
    ]
