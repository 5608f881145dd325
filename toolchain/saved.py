"""Values as JSON files: written whole, read back with the type of every field checked.

What is read may come from elsewhere (a baseline, somebody's results), so nothing is taken on trust
and nothing but plain data comes out.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from pathlib import Path
from typing import Any, Final, TypeVar

from toolchain.errors import ModelError, reason
from toolchain.files import write_text

Value = TypeVar("Value")
MAX_BYTES: Final = 1024**3
_REMEDY: Final = "run the stage again"


def save_value(value: Any, path: Path) -> None:
    """A value as JSON; its `folder`, if it has one, is where it lies and is not written."""
    # ASCII with escapes: names of files can hold bytes that are no UTF-8.
    write_text(path, json.dumps(to_plain(value), indent=1) + "\n")


def to_plain(value: Any) -> dict[str, Any]:
    """What `save_value` writes."""
    data: dict[str, Any] = dataclasses.asdict(value)
    data.pop("folder", None)
    return data


def without_nan(value: Any) -> Any:
    """Plain data that JSON can say: nan and inf become None."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def load_value(path: Path, remedy: str = _REMEDY) -> Any:
    """The JSON that `save_value` wrote; `remedy` is told where it cannot be read.

    Raises:
      ModelError: it is missing, too large or not JSON.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES:,} bytes")
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"cannot be read: {reason(error)}", str(path), remedy) from error


def load_as(kind: type[Value], path: Path, *, remedy: str = _REMEDY, **given: Any) -> Value:
    """A saved value of one dataclass; `given` are the fields that are not in the file.

    Raises:
      ModelError: it cannot be read, or a field is missing, unknown or of another type.
    """
    data = load_value(path, remedy)
    try:
        return made_of(kind, data, **given)
    except ValueError as error:
        raise ModelError(f"expected a saved {kind.__name__}: {error}", str(path), remedy) from error


def made_of(kind: type[Value], data: Any, **given: Any) -> Value:
    """A dataclass from what `to_plain` made of it; `given` are the fields that it left out.

    Raises:
      ValueError: a field is missing, unknown or of another type.
    """
    made: Value = _dataclass(kind, data, "", given)
    return made


def from_plain(kind: Any, data: Any, where: str) -> Any:
    """JSON's plain data as what a type hint says: a dataclass, tuple, dict, optional or scalar.

    Raises:
      ValueError: the data is something else; the text names the field, `where` is the outer one.
    """
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, data, where, {})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _optional(arguments, data, where)
    if origin is tuple:
        return _tuple(arguments, data, where)
    if origin is dict:
        items = _checked(dict, data, where).items()
        return {str(key): from_plain(arguments[1], item, f"{where}.{key}") for key, item in items}
    return data if kind is Any else _scalar(kind, data, where)


def _dataclass(kind: Any, data: Any, where: str, given: dict[str, Any]) -> Any:
    found, hints = _checked(dict, data, where), typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.name not in given}
    if unknown := sorted(set(found) - set(fields)):
        raise ValueError(f"{where}.{unknown[0]:.60} is unknown".lstrip("."))
    required = {
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    if missing := sorted(required - set(found)):
        raise ValueError(f"{where}.{missing[0]} is missing".lstrip("."))
    made = {name: from_plain(hints[name], item, f"{where}.{name}") for name, item in found.items()}
    return kind(**made, **given)


def _optional(arguments: tuple[Any, ...], data: Any, where: str) -> Any:
    if data is None and types.NoneType in arguments:
        return None
    (kind,) = (one for one in arguments if one is not types.NoneType)
    return from_plain(kind, data, where)


def _tuple(arguments: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    items = _checked(list, data, where)
    if arguments[-1] is Ellipsis:
        return tuple(from_plain(arguments[0], one, f"{where}[{i}]") for i, one in enumerate(items))
    if len(items) != len(arguments):
        raise ValueError(f"{where.lstrip('.')} has {len(items)} items, expected {len(arguments)}")
    pairs = zip(arguments, items, strict=True)
    return tuple(from_plain(kind, one, f"{where}[{i}]") for i, (kind, one) in enumerate(pairs))


def _scalar(kind: Any, data: Any, where: str) -> Any:
    if kind is not float or type(data) is not int:
        return _checked(kind, data, where)
    # JSON writes 1.0 as it likes; a whole number is a number too.
    try:
        return float(data)
    except OverflowError as error:
        raise ValueError(f"{where.lstrip('.')} is too large for a number") from error


def _checked(kind: type[Any], data: Any, where: str) -> Any:
    # type() and not isinstance(): true is no whole number here.
    if type(data) is not kind:
        raise ValueError(
            f"{where.lstrip('.') or 'it'} is of type {type(data).__name__}, "
            f"expected {kind.__name__}"
        )
    return data
