"""The code of a kind, copied from templates/ with what it must know of the model filled in."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from toolchain.bundle.offer import Choice
from toolchain.files import write_bytes

# Stand where a string's text and a number do, so that templates are valid code for editors and
# linters.
MODEL_FILE: Final = "__MODEL_FILE__"
EDGE: Final = "__EDGE__"
_CACHES: Final = ("__pycache__", ".ruff_cache", ".mypy_cache")


def paste(kind: str, choices: tuple[Choice, ...], folder: Path) -> None:
    """Copy templates/`kind` into `folder`; the code opens the first of `choices`."""
    model = choices[0].model
    known = {
        MODEL_FILE: model.path.name,
        EDGE: f"{(1 - model.contract.preprocessing.crop) / 2:.6g}",
    }
    _copy(files("toolchain.bundle") / "templates" / kind, folder, known)


def _copy(source: Traversable, target: Path, known: dict[str, str]) -> None:
    for item in source.iterdir():
        if item.is_dir() and item.name not in _CACHES:
            (target / item.name).mkdir(exist_ok=True)
            _copy(item, target / item.name, known)
        elif item.is_file():
            data = item.read_bytes()
            for mark, text in known.items():
                data = data.replace(mark.encode(), text.encode())
            write_bytes(target / item.name, data)
