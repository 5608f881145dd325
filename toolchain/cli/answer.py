"""What `--json` prints, for every command alike."""

from __future__ import annotations

import json
from typing import Any

import typer


def print_json(data: Any, indent: int | None = None) -> None:
    """Plain data as JSON on stdout.

    ASCII with escapes, whatever the terminal's encoding is: names of files can hold bytes that are
    no UTF-8, and they come back from here.
    """
    typer.echo(json.dumps(data, indent=indent))
