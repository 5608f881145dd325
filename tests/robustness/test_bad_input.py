"""What users get wrong, through the command line: one plain error, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from command_line import in_process, settings, toolchain
from PIL import Image

from toolchain.errors import ExitCode

needs_tensorflow = pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="needs the extra toolchain[train]"
)
MOST_LINES = 3
RECIPE = """
[data]
path = "photos"

[model]
weights = "none"
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A user's folder: photos of two classes, and a recipe for them."""
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for index in range(12):
            pixels = random.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path


def error_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines of the error: the last ones on stderr, the first of them starts with "error:"."""
    lines = done.stderr.rstrip("\n").split("\n")
    first = next((i for i, line in enumerate(lines) if line.startswith("error:")), None)
    assert first is not None, done.stderr
    told = lines[first:]
    assert all(line.startswith(("error:", "  ")) for line in told), done.stderr
    return told


def check(
    done: subprocess.CompletedProcess[str], code: ExitCode, here: Path, *words: str
) -> list[str]:
    """Exit code, at most three lines with these words, no traceback, nothing half-made left."""
    told = error_of(done)
    assert done.returncode == code, done.stderr
    assert len(told) <= MOST_LINES
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    for word in words:
        assert word in "\n".join(told)
    assert left_behind(here) == []
    return told


def left_behind(here: Path) -> list[str]:
    """Temporary files anywhere, and stage folders without their commit mark."""
    temporary = [p for p in here.rglob("*") if ".tmp-" in p.name or ".old-" in p.name]
    # runs/.cache holds photos that were decoded; it is shared, and goes on where it was stopped.
    runs = [p for p in here.glob("runs/*") if not p.name.startswith(".")]
    stages = [p for run in runs for p in run.iterdir() if p.is_dir()]
    unfinished = [
        p for p in stages if p.name != "logs" and not (p / "manifest.json").is_file()
    ]  # fmt: skip
    return [str(p.relative_to(here)) for p in temporary + unfinished]


def run(here: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return in_process(*arguments, cwd=here)


@pytest.mark.parametrize("command", ["run", "train", "export"])
def test_a_missing_folder(command: str, here: Path) -> None:
    done = toolchain(command, "--data", "fotos", cwd=here)
    check(done, ExitCode.INPUT, here, "fotos", "found none")


def test_a_missing_folder_in_a_recipe(here: Path) -> None:
    (here / "photos").rename(here / "moved")
    done = run(here, "run", "--recipe", "recipe.toml")
    check(done, ExitCode.INPUT, here, "photos", "found none", "data.path")


def test_a_folder_with_one_class(here: Path) -> None:
    shutil.rmtree(here / "photos" / "dog")
    done = run(here, "run", "--data", "photos")
    check(done, ExitCode.INPUT, here, "two classes", "found one: cat", "above")


def test_photos_without_class_folders(here: Path) -> None:
    done = run(here, "run", "--data", "photos/cat")
    check(done, ExitCode.INPUT, here, "photos/cat", "into a folder of its own")


def test_an_empty_class(here: Path) -> None:
    (here / "photos" / "bird").mkdir()
    done = run(here, "run", "--data", "photos")
    check(done, ExitCode.INPUT, here, "bird", "no photos")


def test_a_folder_without_photos(here: Path) -> None:
    (here / "empty").mkdir()
    check(run(here, "run", "--data", "empty"), ExitCode.INPUT, here, "expected photos", "empty")


def test_a_text_file_named_jpg(here: Path) -> None:
    (here / "photos" / "cat" / "notes.jpg").write_text("buy cat food")
    done = run(here, "run", "--data", "photos")
    check(done, ExitCode.INPUT, here, "notes.jpg", "on_bad_image")
    assert not (here / "runs" / "photos" / "data").exists()


def test_a_truncated_archive(here: Path) -> None:
    archive = Path(shutil.make_archive(str(here / "pack"), "tar", here, "photos"))
    archive.write_bytes(archive.read_bytes()[:9000])
    done = run(here, "run", "--data", "pack.tar")
    check(done, ExitCode.INPUT, here, "pack.tar", "cannot be read")


def test_a_recipe_with_three_mistakes(here: Path) -> None:
    text = RECIPE + '[train]\nepochs = "many"\nlerning_rate = 0.1\n[export]\nopset = 3\n'
    (here / "recipe.toml").write_text(text)
    done = run(here, "run", "--recipe", "recipe.toml")
    told = check(done, ExitCode.INPUT, here, "train.epochs", "did you mean", "export.opset")
    assert len(told) == 3
    assert all(line.startswith("error: recipe.toml: ") for line in told)
    assert not (here / "runs").exists()


def test_a_recipe_that_is_no_toml(here: Path) -> None:
    (here / "recipe.toml").write_text("[data\npath=")
    done = run(here, "run", "--recipe", "recipe.toml")
    check(done, ExitCode.INPUT, here, "recipe.toml", "TOML")


@pytest.mark.parametrize("override", ["train.epochs", "train.epochs=none", "epochs=3"])
def test_a_wrong_override(override: str, here: Path) -> None:
    done = run(here, "train", "--recipe", "recipe.toml", "--set", override)
    check(done, ExitCode.INPUT, here, "epochs")


def test_an_unknown_recipe(here: Path) -> None:
    done = run(here, "run", "--recipe", "digitz")
    check(done, ExitCode.INPUT, here, "digitz", "digits", "toolchain init")


def test_an_unknown_command_or_option(here: Path) -> None:
    for arguments, wrong in ((["trane"], "trane"), (["train", "--epochs", "3"], "--epochs")):
        done = run(here, *arguments)
        assert done.returncode == ExitCode.INPUT
        assert wrong in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["predict", "inspect"])
@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_a_truncated_model(command: str, suffix: str, here: Path) -> None:
    model = here / f"cut.int8-qat.{suffix}"
    start = b"\x1c\x00\x00\x00TFL3" if suffix == "tflite" else b"\x08\x08\x12\x09toolchain"
    model.write_bytes(start + bytes(500))
    photo = [here / "photos" / "cat" / "0.png"] if command == "predict" else []
    check(run(here, command, model, *photo), ExitCode.INPUT, here, model.name)


@pytest.mark.parametrize("command", ["predict", "inspect"])
def test_a_missing_model(command: str, here: Path) -> None:
    photo = [here / "photos" / "cat" / "0.png"] if command == "predict" else []
    check(run(here, command, "none.onnx", *photo), ExitCode.INPUT, here, "none.onnx")


def test_init_of_nothing(here: Path) -> None:
    check(run(here, "init", "fotos"), ExitCode.INPUT, here, "fotos")
    assert not (here / "models").exists()


def test_init_does_not_overwrite(here: Path) -> None:
    done = run(here, "init", "photos", "--output", "recipe.toml")
    check(done, ExitCode.INPUT, here, "recipe.toml", "--overwrite")
    assert (here / "recipe.toml").read_text() == RECIPE


def test_runs_that_is_a_file(here: Path) -> None:
    (here / "runs.txt").write_text("mine")
    done = run(here, "train", "--recipe", "recipe.toml", "--runs", "runs.txt")
    check(done, ExitCode.MACHINE, here, "runs.txt", "--runs")
    assert (here / "runs.txt").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_runs_that_cannot_be_written(here: Path) -> None:
    (here / "locked").mkdir(mode=0o555)
    done = run(here, "train", "--recipe", "recipe.toml", "--runs", "locked")
    check(done, ExitCode.MACHINE, here, "locked", "--runs")


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def offline(here: Path) -> dict[str, str]:
    """No weights on this machine, and no way out of it."""
    (here / "keras").mkdir()
    proxy = f"http://127.0.0.1:{closed_port()}"
    return {
        "KERAS_HOME": str(here / "keras"),
        "HOME": str(here),
        "https_proxy": proxy,
        "HTTPS_PROXY": proxy,
        "http_proxy": proxy,
        "no_proxy": "",
        "NO_PROXY": "",
    }


@needs_tensorflow
def test_weights_that_cannot_be_downloaded(here: Path, offline: dict[str, str]) -> None:
    options = settings(model__weights="imagenet", data__validation=0.3, data__test=0.3)
    done = toolchain("train", "--recipe", "recipe.toml", *options, cwd=here, timeout=200, **offline)
    told = check(done, ExitCode.MACHINE, here, "ImageNet weights cannot be downloaded")
    for way in ("embedded", ".safetensors", "none", "$TOOLCHAIN_DATA/weights"):
        assert way in told[-1]
    assert not list((here / "keras").rglob("*.h5*"))


def test_weights_that_are_not_there(here: Path) -> None:
    options = settings(model__weights='"mine.h5"', data__validation=0.3, data__test=0.3)
    done = run(here, "train", "--recipe", "recipe.toml", *options)
    check(done, ExitCode.INPUT, here, "mine.h5", "model.weights")


def test_debug_shows_where_it_happened(here: Path) -> None:
    done = toolchain("--debug", "train", "--data", "fotos", cwd=here)
    assert done.returncode == ExitCode.INPUT
    assert "Traceback" in done.stderr
    assert "DataError" in done.stderr
