"""What `--json` prints, for every command alike."""

from __future__ import annotations

import json
from typing import Any

import typer

from toolchain.saved import without_nan


def print_json(data: Any, indent: int | None = None) -> None:
    """Plain data as JSON on stdout.

    ASCII with escapes, whatever the terminal's encoding is: names of files can hold bytes that are
    no UTF-8, and they come back from here. JSON knows no nan and no inf: they become null.
    """
    typer.echo(json.dumps(without_nan(data), indent=indent, allow_nan=False))
