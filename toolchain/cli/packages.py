"""What is installed against what pyproject.toml asks for; nothing is imported to find out."""

from __future__ import annotations

import importlib.metadata
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

PROJECT: Final = "toolchain"


@dataclass(frozen=True, slots=True)
class Package:
    """A package that the toolchain uses.

    Attributes:
      name: as the package index knows it.
      wanted: the versions that are known to work, such as "==2.21.*"; empty is any.
      found: the installed version; None when it is not installed.
    """

    name: str
    wanted: str
    found: str | None

    def fits(self) -> bool:
        """Installed, in a version that is known to work."""
        if self.found is None:
            return False
        return SpecifierSet(self.wanted).contains(self.found, prereleases=True)


def packages(extra: str = "") -> list[Package]:
    """The packages of the base install, or those that an extra such as "train" adds to it."""
    base = _requirements("")
    wanted = base if not extra else [one for one in _requirements(extra) if one not in base]
    return [Package(one.name, str(one.specifier), installed(one.name)) for one in wanted]


def installed(name: str) -> str | None:
    """Version of an installed package, None without it."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def python_wanted() -> str:
    """The versions of Python that are known to work, such as ">=3.11,<3.14"."""
    try:
        return str(importlib.metadata.metadata(PROJECT)["Requires-Python"])
    except importlib.metadata.PackageNotFoundError:
        return str(_pyproject()["requires-python"])


def _requirements(extra: str) -> list[Requirement]:
    try:
        texts = importlib.metadata.requires(PROJECT) or []
    except importlib.metadata.PackageNotFoundError:
        return _declared(extra)
    found = [Requirement(text) for text in texts]
    return [one for one in found if one.marker is None or one.marker.evaluate({"extra": extra})]


def _declared(extra: str) -> list[Requirement]:
    """From pyproject.toml: a checkout that is run without having been installed."""
    project = _pyproject()
    extras = project["optional-dependencies"]
    texts = project["dependencies"] + (extras[extra] if extra else [])
    return [Requirement(text) for text in texts]


def _pyproject() -> dict[str, Any]:
    path = Path(__file__).parents[2] / "pyproject.toml"
    project: dict[str, Any] = tomllib.loads(path.read_text())["project"]
    return project
