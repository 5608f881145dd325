"""The recipe lines in docs/data.md are recipes, and its table names every source."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

import toolchain
from toolchain.recipe import parse_recipe
from toolchain.recipe.sections import DataSection

PAGE = Path(toolchain.__file__).parents[1] / "docs" / "data.md"
TEXT = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
BLOCKS = re.findall(r"^```toml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.skipif(not TEXT, reason="not a checkout: docs/ is not installed")


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_is_a_recipe(block: str) -> None:
    table = tomllib.loads(block)
    table.setdefault("data", {}).setdefault("path", "photos")
    assert parse_recipe(table, name="docs").data.path


def test_every_source_has_its_row() -> None:
    field = next(f for f in dataclasses.fields(DataSection) if f.name == "source")
    rows = set(re.findall(r"^\| `([a-z0-9-]+)", TEXT, re.MULTILINE))
    assert set(field.metadata["choices"]) - {"auto"} <= rows
    assert "tfds" in rows
