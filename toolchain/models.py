"""Where things lie: what comes along with the toolchain, and the files that a recipe names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

EMBEDDED: Final = "mobilenet_v2_0.35_48.safetensors"
# A recipe file of this name is called as its folder.
RECIPE_NAME: Final = "recipe.toml"


def models_folder() -> Path:
    """The folder `models/` with the folders of recipes and `backbones/`."""
    package = Path(__file__).parent
    inside = package / "models"
    return inside if inside.is_dir() else package.parent / "models"


def embedded_backbone() -> Path:
    """The embedded MobileNetV2, alpha 0.35, 48x48."""
    return models_folder() / "backbones" / EMBEDDED


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with the toolchain: name -> file, in order of their names.

    `digits/recipe.toml` is called digits, `cifar10-vgg16/better.toml` cifar10-vgg16/better.
    """
    root, found = models_folder(), {}
    for path in root.rglob("*.toml"):
        at = path.relative_to(root)
        name = at.parent if at.name == RECIPE_NAME else at.with_suffix("")
        found[name.as_posix()] = path
    return dict(sorted(found.items()))


def locate(path: str, folder: str) -> Path:
    """A path as a recipe says it: absolute, from here, or from $TOOLCHAIN_DATA/`folder`.

    Whoever opens it finds out why it cannot be: nothing is raised here.
    """
    here, root = expanded(path), os.environ.get("TOOLCHAIN_DATA")
    if root and not here.is_absolute() and not _exists(here):
        there = expanded(root) / folder / path
        if _exists(there):
            return there
    return here


def expanded(path: str | Path) -> Path:
    """Where a path that begins with ~ leads; itself where nobody is called so, or has no home."""
    # pathlib raises there, and `exists` where a folder is closed or a name too long; these do not.
    return Path(os.path.expanduser(path))  # noqa: PTH111


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110
