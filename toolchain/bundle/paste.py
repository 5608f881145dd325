"""The code of a kind, copied from templates/ with the model's name filled in."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from toolchain.bundle.offer import Choice
from toolchain.run import write_bytes

# Stands in a string of the code, so that the template is valid code for editors and linters.
MODEL_FILE: Final = "__MODEL_FILE__"
_CACHES: Final = ("__pycache__", ".ruff_cache", ".mypy_cache")


def paste(kind: str, choices: tuple[Choice, ...], folder: Path) -> None:
    """Copy templates/`kind` into `folder`; the code opens the first of `choices`."""
    _copy(files("toolchain.bundle") / "templates" / kind, folder, choices[0].model.path.name)


def _copy(source: Traversable, target: Path, model_file: str) -> None:
    for item in source.iterdir():
        if item.is_dir() and item.name not in _CACHES:
            (target / item.name).mkdir(exist_ok=True)
            _copy(item, target / item.name, model_file)
        elif item.is_file():
            data = item.read_bytes().replace(MODEL_FILE.encode(), model_file.encode())
            write_bytes(target / item.name, data)
