"""What is known of a key of a recipe, beside its type: default, meaning and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Final

# What to call a value of a type.
KIND_NAMES: Final = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    tuple: "a list",
    Mapping: "a table",
}


def setting(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    prefixes: tuple[str, ...] = (),
) -> Any:
    """A key of the recipe: its default, what it means, and which values are accepted.

    A text that starts with one of `prefixes` and goes on is accepted beside the choices.
    """
    return field(
        default=default,
        metadata={"doc": doc, "low": low, "high": high, "choices": choices, "prefixes": prefixes},
    )
