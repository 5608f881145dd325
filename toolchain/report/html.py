"""Report -> one self-contained report.html: nothing is fetched, no script runs."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from markupsafe import Markup

from toolchain.measurement import JOINT_CONFIDENCE, Benchmark, Measurement
from toolchain.page import environment
from toolchain.report import drawings, gallery, words
from toolchain.report.model import Report
from toolchain.report.pictures import Pictures
from toolchain.report.short import in_short

MAX_SKIPPED: Final = 20
MAX_CLASS_ROWS: Final = 200
MAX_LAYERS: Final = 15
FILTERS: Final[dict[str, Any]] = {
    "percent": words.percent,
    "interval": words.interval,
    "ms": words.milliseconds,
    "ms_interval": words.milliseconds_interval,
    "mb": words.megabytes,
    "whole": words.whole,
    "setup": words.setup,
    "brief": words.brief,
    "count": words.count,
    "moment": words.moment,
    "phone": words.phone,
}


def render_html(report: Report, pictures: Pictures) -> str:
    """The page; every text of the run is escaped by the template.

    Args:
      pictures: of the photos that the report shows; those that are missing are left out.
    """
    # Names of files may be no UTF-8; a page is.
    return render_page("report.html.j2", _content(report, pictures))


def render_page(template: str, content: dict[str, Any]) -> str:
    """A page of the folder pages/, in UTF-8 whatever the names of files hold."""
    templates = environment("toolchain.report")
    templates.filters |= FILTERS
    text = templates.get_template(f"pages/{template}").render(content)
    return text.encode("utf-8", "replace").decode()


def _content(report: Report, pictures: Pictures) -> dict[str, Any]:
    rows = report.benchmark.measurements if report.benchmark else ()
    flips = report.gallery.flips if report.gallery else None
    shown = report.file(report.shown)
    return {
        "report": report,
        "verdict": words.verdict(report),
        "short": in_short(report),
        "settings": words.flat_settings(report.recipe),
        "rows": rows,
        "sizes": {row.file: row for row in rows},
        "energy": any(row.energy_mj for row in rows),
        "integer_onnx": any(
            file.format == "onnx" and file.precision.startswith("int8")
            for file in report.verification.files
        ),
        "joint": round(100 * JOINT_CONFIDENCE),
        "compared": _compared(report.benchmark, report.name),
        "drawings": _drawings(report, rows),
        "few_classes": len(report.verification.classes) <= drawings.FEW_CLASSES,
        "pictures": pictures,
        "flipped": words.flipped(flips) if flips else "",
        "paired": words.paired(shown) if shown else "",
        "resized": words.resized_otherwise(report.client_resize) if report.client_resize else [],
        "believed": [words.believed(one) for one in report.calibrations],
        "calibration_changed": words.calibration_changed(report.calibration_change)
        if report.calibration_change
        else "",
        "reasons": Counter(_reason(why) for _, why in report.data.skipped).most_common(),
        "max_photos": gallery.SHOWN,
        "max_layers": MAX_LAYERS,
        "max_skipped": MAX_SKIPPED,
        "max_class_rows": MAX_CLASS_ROWS,
    }


def _reason(why: str) -> str:
    """A reason without what is particular to one photo, so that alike ones count together."""
    return why.split(":", 1)[0]


def _row(row: Measurement, name: str) -> str:
    return f"{words.brief(row.file, name)}, {words.setup(row)}"


def _compared(benchmark: Benchmark | None, name: str) -> list[tuple[str, str, str]]:
    """(file and how it ran, what it is held against, in words) of every measured pair."""
    if benchmark is None:
        return []
    rows = benchmark.measurements
    return [
        (
            _row(rows[pair.row], name),
            _row(rows[pair.other], name),
            words.faster(pair),
        )
        for pair in benchmark.comparisons
    ]


def _drawings(report: Report, rows: tuple[Measurement, ...]) -> dict[str, Markup]:
    drawn = dict.fromkeys(("loss", "accuracy", "confusion", "speed", "reliability", "layers"), "")
    history = report.training + report.quantization
    if history:
        drawn["accuracy"], drawn["loss"] = drawings.training_curves(history, _marked(report))
    shown = report.file(report.shown)
    if shown and len(report.verification.classes) <= drawings.MAX_CLASSES:
        classes = report.verification.classes
        drawn["confusion"] = drawings.confusion_matrix(classes, shown.confusion)
    points = _points(report, rows)
    if points:
        drawn["speed"] = drawings.tradeoff(points, "p50 latency of one image, ms")
    if report.calibrations:
        *base, other = report.calibrations
        drawn["reliability"] = drawings.reliability(base[0] if base else None, other)
    if report.layers:
        worst = report.layers[:MAX_LAYERS]
        drawn["layers"] = drawings.layer_errors([(one.layer, one.sqnr_db) for one in worst])
    # Drawn by us from numbers and from text that matplotlib escaped: markup, not text.
    return {name: Markup(text) for name, text in drawn.items()}  # noqa: S704


def _marked(report: Report) -> list[int]:
    marked = [report.best_training] if report.training else []
    if report.quantization and report.best_quantization is not None:
        marked.append(len(report.training) + report.best_quantization)
    return marked


def _points(report: Report, rows: tuple[Measurement, ...]) -> list[drawings.Point]:
    files = {file.file: file for file in report.verification.files}
    measured = [row for row in rows if row.latency and row.batch == 1 and row.file in files]
    varied = len({(row.provider, row.threads) for row in measured}) > 1
    return [
        drawings.Point(
            label=_label(row, varied),
            cost=row.latency.p50_ms,
            accuracy=files[row.file].accuracy,
            blue=row.format == "tflite",
            filled=row.precision.startswith("int8"),
        )
        for row in measured
        if row.latency
    ]


def _label(row: Measurement, varied: bool) -> str:
    label = f"{row.format} {row.precision}"
    return f"{label}, {row.provider} {row.threads}t" if varied else label
