"""Kotlin and Swift of the bundles, as far as a machine without a phone can check them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SOURCES = {"android": "PhotoClassifier.kt", "ios": "PhotoClassifier.swift"}
GRAMMARS = {"android": "tree_sitter_kotlin", "ios": "tree_sitter_swift"}
PAIRS = {")": "(", "]": "[", "}": "{"}


@pytest.fixture(params=SOURCES)
def kind(request) -> str:
    return request.param


@pytest.fixture
def source(kind: str, unpacked) -> Path:
    return unpacked(kind).folder / SOURCES[kind]


def without_texts(code: str) -> str:
    """Code without its comments and strings."""
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:[^"\\\n]|\\.)*"', "", code, flags=re.DOTALL)


def test_it_opens_a_model_that_is_in_the_bundle(source: Path) -> None:
    (name,) = re.findall(r'"([^"]+\.tflite)"', source.read_text())
    assert (source.parent / name).is_file()


def test_its_brackets_close(source: Path) -> None:
    open_ones = []
    for character in without_texts(source.read_text()):
        if character in PAIRS.values():
            open_ones.append(character)
        elif character in PAIRS:
            assert open_ones.pop() == PAIRS[character]
    assert open_ones == []


def test_it_parses(kind: str, source: Path) -> None:
    reason = "extra `clients` is not installed"
    tree_sitter = pytest.importorskip("tree_sitter", reason=reason)
    grammar = pytest.importorskip(GRAMMARS[kind], reason=reason)
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    tree = parser.parse(source.read_bytes())
    broken = [node for node in walk(tree.root_node) if node.is_error or node.is_missing]
    assert broken == []
    assert parser.parse(source.read_bytes()[:-3]).root_node.has_error


def walk(node):
    yield node
    for child in node.children:
        yield from walk(child)


@pytest.mark.parametrize(
    ("kind", "package"),
    [
        ("android", "com.google.mediapipe:tasks-vision:"),
        ("ios", "pod 'MediaPipeTasksVision', '"),
    ],
)
def test_the_card_names_the_library_with_its_version(kind: str, package: str, unpacked) -> None:
    card = (unpacked(kind).folder / "README.md").read_text()
    assert re.search(re.escape(package) + r"\d+\.\d+\.\d+", card)
    assert SOURCES[kind] in card
    assert "tiny.int8-qat.tflite" in card
