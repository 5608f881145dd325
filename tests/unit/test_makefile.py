"""What make hands to the command: values as they were typed, whatever is in them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """One that is installed, with a command that prints its arguments; its path has a space."""
    folder = tmp_path / "a checkout"
    (folder / ".venv" / "bin").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copyfile(ROOT / name, folder / name)
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    command = folder / ".venv" / "bin" / "toolchain"
    command.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    command.chmod(0o755)
    (folder / ".venv" / ".installed").touch()
    return folder


def make(folder: Path, *arguments: str) -> list[str]:
    """The arguments that the command got, without a home folder."""
    cleared = ("HOME", "DATA", "RECIPE", "RUNS", "SET", "FOR", "GPU", "MAKEFLAGS", "MAKELEVEL")
    done = subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if key not in cleared},
        capture_output=True,
        text=True,
        check=True,
    )
    received: list[str] = json.loads(done.stdout)
    return received


@pytest.mark.parametrize("path", ["my photos", "~/my photos", "it's", 'so "called"', "a;b&c"])
def test_a_path_comes_out_as_typed(path: str, checkout: Path) -> None:
    assert make(checkout, "train", f"DATA={path}") == ["train", "--data", path, "--runs", "runs"]
    assert make(checkout, "run", f"RECIPE={path}", f"RUNS={path}") == [
        *("run", "--recipe", path, "--runs", path)
    ]
    assert make(checkout, "audit", f"DATA={path}")[2] == path


def test_every_change_is_an_option_of_its_own(checkout: Path) -> None:
    typed = """train.epochs=5 data.path=it's export.formats=["onnx"]"""
    _, *options = make(checkout, "train", f"SET={typed}")
    changes = [item for one in typed.split() for item in ("--set", one)]
    assert options == ["--recipe", "models/digits/recipe.toml", "--runs", "runs", *changes]


def test_a_bundle_says_what_it_is_for(checkout: Path) -> None:
    assert make(checkout, "bundle", "FOR=server")[-2:] == ["--for", "server"]
