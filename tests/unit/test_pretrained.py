"""Which file holds the weights, and that a first download changes no stage's key."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest

from toolchain.recipe import Recipe, parse_recipe
from toolchain.training import pretrained
from toolchain.training.pretrained import weights_fingerprint, weights_path

CONTENT = b"weights"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that were asked for; nothing is on this machine, and nothing leaves it."""
    addresses: list[str] = []

    def answer(url: str, timeout: float) -> io.BytesIO:
        addresses.append(url)
        return io.BytesIO(CONTENT)

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("TOOLCHAIN_DATA", raising=False)
    monkeypatch.setattr(pretrained.urllib.request, "urlopen", answer)
    return addresses


def recipe(**model: object) -> Recipe:
    table = {"data": {"source": "digits"}, "model": {"weights": "imagenet", **model}}
    return parse_recipe(table, name="digits")


def test_the_hash_is_the_same_before_and_after_the_download(asked: list[str]) -> None:
    before = weights_fingerprint(recipe())
    assert before == hashlib.sha256(CONTENT).hexdigest()
    path = weights_path(recipe())
    assert path is not None
    assert path.read_bytes() == CONTENT
    assert weights_fingerprint(recipe()) == before
    assert len(asked) == 1


def test_a_folder_of_nobody_is_no_place_to_look(asked, monkeypatch) -> None:
    """pathlib raises a RuntimeError there."""
    monkeypatch.setenv("TOOLCHAIN_DATA", "~nobody-is-called-so/data")
    assert weights_path(recipe()) is not None
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("alpha", "size", "published"),
    [(1.0, 160, "1.0_160"), (1.0, 100, "1.0_224"), (1.4, 160, "1.4_224"), (1.3, 96, "1.3_224")],
)
def test_only_files_that_were_published_are_asked_for(
    alpha: float, size: int, published: str, asked: list[str]
) -> None:
    table = {
        "data": {"source": "digits"},
        "input": {"size": size},
        "model": {"weights": "imagenet", "alpha": alpha},
    }
    weights_path(parse_recipe(table, name="digits"))
    assert asked[0].endswith(f"_{published}_no_top.h5")
