"""All values of a run -> report.html, report.md, report.json; those of several -> comparison.*.

`model` gathers them and `choice` answers which file to ship; `html` and `markdown` only put that
into words, `drawings` draws, `pictures` shows single photos, `write` puts the files down.
"""

from toolchain.report.model import Report, RunValues, make_report
from toolchain.report.pictures import Pictures, make_pictures

__all__ = ["Pictures", "Report", "RunValues", "make_pictures", "make_report"]
