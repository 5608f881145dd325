"""Where the recipes and the embedded backbone lie: in the checkout, or inside the wheel."""

from __future__ import annotations

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
