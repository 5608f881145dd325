"""Recipe -> TOML with every key said, so that what came out can be made again from it alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from toolchain.recipe.sections import Recipe

RECIPE_FILE: Final = "recipe.toml"


def recipe_toml(recipe: Recipe) -> str:
    """Text that `load_recipe` reads as an equal recipe; defaults are written out."""
    table = given(recipe.to_json())
    name = table.pop("name")
    lines = [f"name = {toml_value(name)}"]
    for section, values in table.items():
        lines += _table(section, values)
    return "\n".join(lines) + "\n"


def given(table: dict[str, Any]) -> dict[str, Any]:
    """Plain data of a recipe or a section without the keys that are None, as `parse_recipe` reads
    it: TOML has no null, what is None was not said.
    """
    return {
        key: given(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }


def _table(name: str, values: dict[str, Any]) -> Iterator[str]:
    yield from ("", f"[{name}]")
    for key, value in values.items():
        if not isinstance(value, dict):
            yield f"{_key(key)} = {toml_value(value)}"
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _table(f"{name}.{key}", value)


def _key(key: str) -> str:
    """Names of classes are keys too, and may be any text on one line."""
    return key if key.isidentifier() and key.isascii() else toml_value(key)


def toml_value(value: Any) -> str:
    """Text on one line, a finite number, a boolean or a list of them, as TOML."""
    # Text on one line, finite numbers, booleans and lists of them are written alike in JSON and
    # TOML; json writes floats with `repr`, so they are read back to the last bit.
    return json.dumps(value, ensure_ascii=False)
