"""Audit -> one self-contained HTML page with thumbnails, for a phone or a screen."""

from __future__ import annotations

import os
from typing import Any, Final

from toolchain.data.audit.findings import Audit, Finding, Kind, Severity
from toolchain.data.audit.scan import BROKEN
from toolchain.data.audit.thumbnails import thumbnails
from toolchain.data.sources.base import Source
from toolchain.page import environment

MAX_FINDINGS: Final = 24  # of a kind; --json lists all
MAX_PICTURES: Final = 6  # of a finding
MAX_CLASSES: Final = 200
# Kinds that name classes and splits, or images that cannot be shown.
_WITHOUT_PICTURES: Final = BROKEN | {
    Kind.MISSING,
    Kind.UNTRAINED_CLASS,
    Kind.EMPTY_SPLIT,
    Kind.IMBALANCE,
    Kind.SMALL_CLASS,
}


def render_page(result: Audit, source: Source) -> str:
    """The page; names of files and classes are escaped by the template.

    Args:
      result: what to show.
      source: where the pictures are read from, once more.
    """
    shown = {kind: result.of(kind)[:MAX_FINDINGS] for kind in result.counts()}
    names = {
        name
        for kind, findings in shown.items()
        if kind not in _WITHOUT_PICTURES
        for finding in findings
        for name in finding.names[:MAX_PICTURES]
    }
    pictures = thumbnails(source, names) if names else {}
    templates = environment("toolchain.data.audit")
    # Names of files may be no UTF-8; a page is.
    text = templates.get_template("page.html.j2").render(_content(result, shown, pictures))
    return text.encode("utf-8", "replace").decode()


def _content(
    result: Audit, shown: dict[Kind, list[Finding]], pictures: dict[str, str]
) -> dict[str, Any]:
    counts = result.counts()
    levels = {
        level: sum(n for kind, n in counts.items() if kind.severity is level) for level in Severity
    }
    classes = list(result.splits["train"])
    return {
        "audit": result,
        "name": os.path.basename(result.path.rstrip("/")),  # noqa: PTH119 - a source has no path
        "counts": counts,
        "levels": levels,
        "shown": shown,
        "pictures": pictures,
        "pictured": set(shown) - _WITHOUT_PICTURES,
        "classes": classes[:MAX_CLASSES],
        "more_classes": len(classes) - MAX_CLASSES,
        "max_pictures": MAX_PICTURES,
    }
