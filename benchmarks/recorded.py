"""What a benchmark found, as tracked files: results/<date>-<machine>-<what>.json and .md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def record(
    result: dict[str, Any], machine: str, what: str, table: str, folder: Path = RESULTS
) -> None:
    """Write the figures and their table, and print the table; the date is the result's."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{result['date'][:10]}-{machine}-{what}"
    (folder / f"{stem}.json").write_text(json.dumps(result, indent=1) + "\n")
    (folder / f"{stem}.md").write_text(table)
    print(table)
