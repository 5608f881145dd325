"""Report -> one self-contained report.html: nothing is fetched, no script runs."""

from __future__ import annotations

from typing import Any, Final

from markupsafe import Markup

from toolchain.page import environment
from toolchain.report import plots, words
from toolchain.report.choice import Timed
from toolchain.report.model import Report
from toolchain.values import Measurement

MAX_SKIPPED: Final = 20
MAX_CLASS_ROWS: Final = 200


def render_html(report: Report) -> str:
    """The page; every text of the run is escaped by the template."""
    templates = environment("toolchain.report")
    templates.filters |= {
        "percent": words.percent,
        "interval": words.interval,
        "ms": words.milliseconds,
        "mb": words.megabytes,
        "whole": words.whole,
        "setup": words.setup,
    }
    return templates.get_template("template.html.j2").render(_page(report))


def _page(report: Report) -> dict[str, Any]:
    rows = report.benchmark.measurements if report.benchmark else ()
    return {
        "report": report,
        "verdict": words.verdict(report),
        "settings": words.settings(report),
        "rows": rows,
        "sizes": {row.file: row.bytes for row in rows},
        "drawings": _drawings(report, rows),
        "few_classes": len(report.verification.classes) <= plots.FEW_CLASSES,
        "max_skipped": MAX_SKIPPED,
        "max_class_rows": MAX_CLASS_ROWS,
    }


def _drawings(report: Report, rows: tuple[Measurement, ...]) -> dict[str, Markup]:
    drawings = dict.fromkeys(("loss", "accuracy", "confusion", "speed"), "")
    history = report.training + report.quantization
    if history:
        drawings["loss"], drawings["accuracy"] = plots.curves(history, _marked(report))
    shown = report.shown_file()
    if shown and len(report.verification.classes) <= plots.MAX_CLASSES:
        drawings["confusion"] = plots.confusion(report.verification.classes, shown.confusion)
    points = _points(report, rows)
    if points:
        drawings["speed"] = plots.accuracy_against_latency(points)
    # Drawn by us from numbers and from text that matplotlib escaped: markup, not text.
    return {name: Markup(text) for name, text in drawings.items()}  # noqa: S704


def _marked(report: Report) -> list[int]:
    marked = [report.best_training] if report.training else []
    if report.quantization and report.best_quantization is not None:
        marked.append(len(report.training) + report.best_quantization)
    return marked


def _points(report: Report, rows: tuple[Measurement, ...]) -> list[plots.Point]:
    files = {file.file: file for file in report.verification.files}
    measured = [
        Timed(row, row.latency.p50_ms.value)
        for row in rows
        if row.latency is not None and row.batch == 1 and row.file in files
    ]
    varied = {(one.row.provider, one.row.threads) for one in measured}
    return [
        plots.Point(_label(one.row, len(varied) > 1), one.p50_ms, files[one.row.file])
        for one in measured
    ]


def _label(row: Measurement, varied: bool) -> str:
    label = f"{row.format} {row.precision}"
    return f"{label}, {row.provider} {row.threads}t" if varied else label
