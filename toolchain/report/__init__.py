"""All values of a run -> report.html, report.md, report.json.

`model` gathers them and `choice` answers which file to ship; `html` and `markdown` only put that
into words, `plots` draws, `write` puts the files down.
"""

from toolchain.report.model import Report, make_report
from toolchain.report.write import write_report

__all__ = ["Report", "make_report", "write_report"]
