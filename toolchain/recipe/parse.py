"""TOML -> Recipe: closed keys, closed values, every mistake reported at once."""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from datetime import date, time
from pathlib import Path
from typing import Any, Final

from toolchain.errors import InputError, RecipeError, is_printable
from toolchain.recipe.defaults import cross_check, resolve
from toolchain.recipe.sections import SECTIONS, Recipe
from toolchain.recipe.setting import KIND_NAMES

MAX_BYTES: Final = 64 * 1024
# tomllib takes quadratic time over the parts of one dotted key: 8 s for 20,000 of them, 40 KB.
MAX_LINE: Final = 2048
MAX_MISTAKES: Final = 100
_NAME_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")


def load_recipe(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe file; `overrides` are `section.key=value`, the value as in TOML.

    Raises:
      RecipeError: with every mistake of the file and of the overrides.
      InputError: the file is missing, too large or not a file.
    """
    where = str(path)
    data = _read(path)
    try:
        # Editors of Windows put a mark before the first byte.
        table = tomllib.loads(data.decode("utf-8-sig"))
    # ValueError: bad TOML, bad UTF-8, or a decimal number of more than 4,300 digits.
    except (ValueError, RecursionError) as error:
        raise RecipeError([f"not valid TOML: {error}"], where) from error
    name = path.parent.resolve().name if path.name == "recipe.toml" else path.stem
    return parse_recipe(table, name=name, where=where, overrides=overrides)


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            remedy = "see: toolchain init --help"
            raise InputError("expected a recipe file, found none", str(path), remedy)
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"the recipe cannot be read: {error.strerror}", str(path)) from error
    if len(data) > MAX_BYTES:
        raise InputError(f"a recipe has at most {MAX_BYTES:,} bytes", str(path))
    if max(map(len, data.splitlines()), default=0) > MAX_LINE:
        raise InputError(f"a line of a recipe has at most {MAX_LINE:,} bytes", str(path))
    return data


def parse_recipe(
    table: dict[str, Any],
    *,
    name: str,
    where: str = "recipe",
    overrides: list[str] | None = None,
) -> Recipe:
    """A parsed TOML table as a resolved `Recipe`; see `load_recipe`."""
    mistakes: list[str] = []
    table = dict(table)
    for text in overrides or []:
        _override(table, text, mistakes)
    name = _name(table.pop("name", name), mistakes)
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in SECTIONS:
            mistakes.append(_unknown(key, [*SECTIONS, "name"]))
        else:
            values[key] = _section(SECTIONS[key], key, value, mistakes)
    recipe = Recipe(name=name, **values)
    told = {mistake.partition(":")[0] for mistake in mistakes}
    mistakes += [one for one in cross_check(recipe) if told.isdisjoint(_concerned(one))]
    if len(mistakes) > MAX_MISTAKES:
        rest = len(mistakes) - MAX_MISTAKES
        mistakes[MAX_MISTAKES:] = [f"{rest:,} more mistakes are not shown"]
    if mistakes:
        raise RecipeError(mistakes, where)
    return resolve(recipe)


def _concerned(mistake: str) -> set[str]:
    """The keys of a mistake and the sections around them: where one was told of, it follows.

    "data.validation + data.test: ..." is about two keys and [data].
    """
    keys = [key.split(".") for key in mistake.partition(":")[0].split(" + ")]
    return {".".join(parts[:end]) for parts in keys for end in range(1, len(parts) + 1)}


def _name(value: Any, mistakes: list[str]) -> str:
    text = value if isinstance(value, str) else ""
    if 0 < len(text) <= 100 and set(text) <= _NAME_CHARACTERS and not text.startswith("."):
        return text
    mistakes.append(f"name: expected letters a-z, digits, - _ and ., received {_show(value)}")
    return "invalid"


def _override(table: dict[str, Any], text: str, mistakes: list[str]) -> None:
    key, equals, value = text.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        mistakes.append(f"--set {text}: expected section.key=value")
        return
    inner = table
    for part in path[:-1]:
        step = inner.get(part, {})
        inner[part] = dict(step) if isinstance(step, dict) else {}
        inner = inner[part]
    inner[path[-1]] = _typed(value)


def _typed(text: str) -> Any:
    """A value as in TOML, else the text itself: quotes may be left out where text is expected."""
    try:
        (value,) = tomllib.loads(f"value = {text}").values()
    except (ValueError, RecursionError):
        return text
    # No key is a date, and a folder may be called like one.
    return text if isinstance(value, date | time) else value


def _section(cls: type[Any], prefix: str, table: Any, mistakes: list[str]) -> Any:
    if not isinstance(table, dict):
        mistakes.append(f"{prefix}: expected a table [{prefix}], received {_show(table)}")
        return cls()
    fields = {item.name: item for item in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in table.items():
        where = f"{prefix}.{key}"
        if key not in fields:
            mistakes.append(_unknown(where, [f"{prefix}.{known}" for known in fields]))
        elif dataclasses.is_dataclass(hints[key]):
            values[key] = _section(hints[key], where, value, mistakes)
        else:
            before = len(mistakes)
            read = _value(where, value, hints[key], fields[key], mistakes)
            # What was told of stays at its default: nothing has to look at it again.
            if len(mistakes) == before:
                values[key] = read
    return cls(**values)


def _value(
    where: str, value: Any, hint: Any, field: dataclasses.Field[Any], mistakes: list[str]
) -> Any:
    if typing.get_origin(hint) is tuple:
        return _list(where, value, typing.get_args(hint)[0], field, mistakes)
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    accepted = [kind for kind in kinds if kind is not type(None)]
    for kind in accepted:
        if typing.get_origin(kind) is tuple and isinstance(value, list):
            return _list(where, value, typing.get_args(kind)[0], field, mistakes)
        if typing.get_origin(kind) is Mapping and isinstance(value, dict):
            return _named(where, value, typing.get_args(kind)[1], field, mistakes)
    if float in accepted and int not in accepted and type(value) is int:
        value = float(value) if abs(value) < 2**53 else value
    if type(value) not in accepted:
        names = " or ".join(KIND_NAMES[typing.get_origin(kind) or kind] for kind in accepted)
        mistakes.append(f"{where}: expected {names}, received {_show(value)}")
        return value
    _bounds(where, value, field.metadata, mistakes)
    return value


def _list(
    where: str, value: Any, item: Any, field: dataclasses.Field[Any], mistakes: list[str]
) -> Any:
    if not isinstance(value, list):
        mistakes.append(f"{where}: expected a list, received {_show(value)}")
        return ()
    if len(value) > 64:
        mistakes.append(f"{where}: expected at most 64 items, received {len(value)}")
        return ()
    default: Any = field.default
    if not value and default and isinstance(default, tuple):
        mistakes.append(f"{where}: expected at least one value, such as {default[0]!r}")
    return tuple(_value(where, one, item, field, mistakes) for one in value)


def _named(
    where: str,
    table: dict[str, Any],
    item: Any,
    field: dataclasses.Field[Any],
    mistakes: list[str],
) -> dict[str, Any]:
    """A table whose keys are the user's own names."""
    if not table:
        mistakes.append(f"{where}: expected at least one name in the table, received none")
    for name in table:
        if not is_printable(name):
            mistakes.append(f"{where}: expected names on one line, received {_show(name)}")
    return {
        name: _value(f"{where}.{name[:60]}", value, item, field, mistakes)
        for name, value in table.items()
    }


def _bounds(where: str, value: Any, meta: Any, mistakes: list[str]) -> None:
    low, high, choices = meta["low"], meta["high"], meta["choices"]
    prefixes = tuple(prefix for prefix in meta["prefixes"] if value != prefix)
    if (
        choices
        and isinstance(value, str)
        and value not in choices
        and not str(value).startswith(prefixes)
    ):
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        mistakes.append(
            f"{where}: expected one of {', '.join(choices)}, received {_show(value)}{hint}"
        )
    if isinstance(value, str) and not is_printable(value):
        mistakes.append(f"{where}: expected text on one line, received {_show(value)}")
    elif isinstance(value, float) and not math.isfinite(value):
        mistakes.append(f"{where}: expected a finite number, received {value}")
    elif low is not None and not isinstance(value, str | bool) and not low <= value <= high:
        mistakes.append(f"{where}: expected {low} to {high}, received {_show(value)}")


def _unknown(where: str, known: list[str]) -> str:
    near = difflib.get_close_matches(where, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    return f"{where[:80]}: unknown key, {hint}"


def _show(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, a table too deep
        text = f"a {type(value).__name__} too large to show"
    return text if len(text) <= 60 else text[:57] + "..."
