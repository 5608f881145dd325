"""Recipe -> the text of a recipe file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from toolchain.recipe.sections import SECTIONS, Recipe


def recipe_text(recipe: Recipe, comment: str = "") -> str:
    """TOML that parses to `recipe`: every key that is not its default, a table a section.

    Args:
      comment: lines for the top of the file.
    """
    blocks = ["\n".join(f"# {line}" for line in comment.splitlines())] if comment else []
    blocks.append(f"name = {_literal(recipe.name)}")
    for name in SECTIONS:
        blocks += _tables(name, getattr(recipe, name))
    return "\n\n".join(blocks) + "\n"


def _tables(name: str, section: Any) -> Iterator[str]:
    lines, below = [], []
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            below += list(_tables(f"{name}.{field.name}", value))
        elif value is not None and value != field.default:
            lines.append(f"{field.name} = {_literal(value)}")
    if lines:
        yield "\n".join([f"[{name}]", *lines])
    yield from below


def _literal(value: str | float | bool | tuple[Any, ...]) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_literal(item) for item in value)}]"
    if isinstance(value, float):
        return repr(value)
    # JSON's texts, numbers and booleans are TOML's as well.
    return json.dumps(value, ensure_ascii=False)
