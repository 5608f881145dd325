"""Report -> its three files in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from toolchain.files import write_bytes, writing
from toolchain.report.html import render_html
from toolchain.report.markdown import render_markdown
from toolchain.report.model import Report
from toolchain.report.pictures import Pictures


def write_report(report: Report, pictures: Pictures, folder: Path) -> None:
    """Write report.html, report.md and report.json into `folder`.

    Raises:
      MachineError: the disk is full or the place cannot be written.
    """
    write_pages(
        folder,
        "report",
        render_html(report, pictures),
        render_markdown(report),
        report.to_json(),
    )


def write_pages(folder: Path, name: str, html: str, markdown: str, data: dict[str, Any]) -> None:
    """Write name.html, name.md and name.json; what is no UTF-8 becomes question marks.

    The folder is made where it is missing.

    Raises:
      MachineError: the disk is full or the place cannot be written.
    """
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for ending, content in (("html", html), ("md", markdown), ("json", text)):
        write_bytes(folder / f"{name}.{ending}", content.encode("utf-8", "replace"))
