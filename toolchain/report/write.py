"""Report -> its three files in a folder."""

from __future__ import annotations

import json
from pathlib import Path

from toolchain.report.html import render_html
from toolchain.report.markdown import render_markdown
from toolchain.report.model import Report
from toolchain.run import write_text


def write_report(report: Report, folder: Path) -> None:
    """Write report.html, report.md and report.json into `folder`, which exists.

    Raises:
      MachineError: the disk is full or the place cannot be written.
    """
    write_text(folder / "report.html", render_html(report))
    write_text(folder / "report.md", render_markdown(report))
    write_text(
        folder / "report.json",
        json.dumps(report.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
    )
