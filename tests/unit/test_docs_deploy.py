"""docs/deploy-*.md against the bundles that they tell of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import toolchain
from toolchain.bundle import KINDS

ROOT = Path(toolchain.__file__).parent
DOCS = ROOT.parent / "docs"
LIBRARIES = {"android": r"tasks-vision:([\d.]+\d)", "ios": r"MediaPipeTasksVision', '([\d.]+\d)'"}
# Names in code font that are no files of a bundle.
ELSEWHERE = {"test_mediapipe.py", "clients.py", "LiteRT.js"}
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="not a checkout: docs/ is not installed")


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


def page(kind: str) -> str:
    return (DOCS / f"deploy-{kind}.md").read_text(encoding="utf-8")


def test_every_kind_has_its_page_with_its_command(kind: str) -> None:
    assert f"toolchain bundle runs/digits --for {kind}" in page(kind)


def test_every_file_that_it_names_is_pasted(kind: str) -> None:
    there = {path.name for path in (ROOT / "bundle" / "templates" / kind).iterdir()}
    named = set(re.findall(r"[\w]+\.(?:kt|swift|js|py)\b", page(kind)))
    assert named
    assert named - ELSEWHERE <= there


@pytest.mark.parametrize("kind", LIBRARIES, indirect=True)
def test_page_and_card_ask_for_the_same_version(kind: str) -> None:
    card = (ROOT / "bundle" / "cards" / f"{kind}.md.j2").read_text(encoding="utf-8")
    assert re.findall(LIBRARIES[kind], page(kind)) == re.findall(LIBRARIES[kind], card)


def test_the_requirements_of_a_server_are_those_of_this_project() -> None:
    """The bounds of pyproject.toml are those that the scripts were tried with."""
    declared = (ROOT.parent / "pyproject.toml").read_text(encoding="utf-8")
    text = (ROOT / "bundle" / "templates" / "server" / "requirements.txt").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(lines) == 7
    for line in lines:
        assert f'"{line}"' in declared
