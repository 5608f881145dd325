"""Where things lie: what comes along with the toolchain, and the files that a recipe names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

EMBEDDED: Final = "mobilenet_v2_0.35_48.safetensors"


def models_folder() -> Path:
    """The folder `models/` with one folder a recipe and `backbones/`."""
    package = Path(__file__).parent
    inside = package / "models"
    return inside if inside.is_dir() else package.parent / "models"


def embedded_backbone() -> Path:
    """The embedded MobileNetV2, alpha 0.35, 48x48."""
    return models_folder() / "backbones" / EMBEDDED


def recipe_names() -> list[str]:
    """Names of the recipes that come with the toolchain."""
    return sorted(path.parent.name for path in models_folder().glob("*/recipe.toml"))


def locate(path: str, folder: str) -> Path:
    """A path as a recipe says it: absolute, from here, or from $TOOLCHAIN_DATA/`folder`."""
    here = Path(path).expanduser()
    root = os.environ.get("TOOLCHAIN_DATA")
    if not here.exists() and root and not here.is_absolute():
        there = Path(root).expanduser() / folder / path
        if there.exists():
            return there
    return here
