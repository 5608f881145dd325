"""Every key of a recipe: its default, what it accepts and what it means."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from toolchain.recipe.sections import SECTIONS
from toolchain.recipe.setting import KIND_NAMES
from toolchain.recipe.write import toml_value


@dataclass(frozen=True, slots=True)
class Key:
    """One key.

    Attributes:
      section, name: "model.head" and "dense".
      default: plain data; None where nothing is given.
      accepts: the values that are accepted, in words.
      meaning: what it does.
    """

    section: str
    name: str
    default: Any
    accepts: str
    meaning: str


def recipe_keys() -> tuple[Key, ...]:
    """All of them, section by section, as `recipe.sections` writes them down."""
    return tuple(key for name, kind in SECTIONS.items() for key in _keys(name, kind))


def keys_toml(keys: tuple[Key, ...]) -> str:
    """A recipe of these keys and their defaults, with a comment on each."""
    lines, section = [], ""
    for key in keys:
        if key.section != section:
            section = key.section
            lines += ["", f"[{section}]"]
        lines.append(f"# {key.meaning} ({key.accepts})")
        if key.default is None:
            lines.append(f"# {key.name} is not given by default")
        else:
            lines.append(f"{key.name} = {toml_value(key.default)}")
    return "\n".join(lines[1:]) + "\n"


def _keys(section: str, kind: type[Any]) -> Iterator[Key]:
    hints = typing.get_type_hints(kind)
    inner: list[tuple[str, Any]] = []
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            inner.append((f"{section}.{field.name}", hint))
            continue
        meta = field.metadata
        yield Key(section, field.name, field.default, _accepted(hint, meta), meta["doc"])
    for name, hint in inner:
        yield from _keys(name, hint)


def _accepted(hint: Any, meta: Mapping[str, Any]) -> str:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    found = [_of_kind(kind, meta) for kind in kinds if kind is not type(None)]
    return " or ".join(dict.fromkeys(found))


def _of_kind(kind: Any, meta: Mapping[str, Any]) -> str:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return f"a list of {_of_kind(inner[0], meta)}"
    if origin is Mapping:
        return f"a table of name = {_of_kind(inner[1], meta)}"
    if kind is str and meta["choices"]:
        return ", ".join((*meta["choices"], *(f"{one}NAME" for one in meta["prefixes"])))
    if kind in (int, float) and meta["low"] is not None:
        return f"{meta['low']:g} to {meta['high']:g}" if kind is float else _whole(meta)
    return KIND_NAMES[kind]


def _whole(meta: Mapping[str, Any]) -> str:
    return f"{meta['low']:.0f} to {meta['high']:.0f}"
