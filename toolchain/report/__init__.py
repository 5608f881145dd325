"""All values -> report.html, report.md, report.json."""
