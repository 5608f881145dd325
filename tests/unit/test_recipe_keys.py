"""`toolchain keys`: every key, told as the parser takes it."""

from __future__ import annotations

import dataclasses
import json
import tomllib

import pytest
from typer.testing import CliRunner

from toolchain.cli.app import app
from toolchain.errors import InputError
from toolchain.recipe import parse_recipe
from toolchain.recipe.keys import keys_toml, recipe_keys
from toolchain.recipe.sections import SECTIONS


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["keys", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_all_keys_are_a_recipe_of_defaults() -> None:
    table = tomllib.loads(shown())
    assert set(table) == set(SECTIONS)
    table["data"]["path"] = "photos"
    assert parse_recipe(table, name="x") == parse_recipe({"data": {"path": "photos"}}, name="x")


def test_no_key_is_left_out() -> None:
    told = {f"{key.section}.{key.name}" for key in recipe_keys()}

    def names(prefix: str, kind: type) -> set[str]:
        found = set()
        for field in dataclasses.fields(kind):
            name = f"{prefix}.{field.name}"
            is_section = field.default_factory is not dataclasses.MISSING
            found |= names(name, type(field.default_factory())) if is_section else {name}
        return found

    assert told == {name for one, kind in SECTIONS.items() for name in names(one, kind)}


def test_bounds_and_choices_are_those_of_the_parser() -> None:
    keys = {f"{key.section}.{key.name}": key for key in recipe_keys()}
    assert keys["quantize.ranges"].accepts == "minmax, percentile, mse"
    assert keys["data.validation"].accepts.startswith("0.01 to 0.8")
    assert keys["data.source"].accepts.endswith("tfds:NAME")
    assert keys["train.seed"].accepts == "0 to 2147483647"
    assert keys["model.head.dropout"].accepts == "0 to 0.95 or a list of 0 to 0.95"
    assert keys["input.size"].default is None
    assert "# size is not given by default" in keys_toml((keys["input.size"],))


def test_a_section_or_a_word_narrows_them() -> None:
    assert list(tomllib.loads(shown("quantize"))) == ["quantize"]
    assert set(tomllib.loads(shown("model"))["model"]) > {"head", "backbone"}
    found = json.loads(shown("Early Stopping", "--json"))
    assert [(key["section"], key["name"]) for key in found] == [("data", "validation")]
    with pytest.raises(InputError, match="received 'zzz'") as caught:
        shown("zzz")
    assert "sections are data, data.limit, input" in caught.value.remedy
