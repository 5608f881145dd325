"""infer_onnx.py and infer_tflite.py where nothing of ours is installed, against our runner."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Unpacked, bare_environment, our_answers
from PIL import Image

# What a pip install of the named package brings that its import needs.
NEEDS = {
    "infer_onnx.py": ("onnxruntime", "flatbuffers", "google", "packaging"),
    "infer_tflite.py": ("ai_edge_litert", "flatbuffers"),
}
SHARED = ("numpy", "numpy.libs", "PIL", "pillow.libs", "typing_extensions.py")
SCRIPTS = tuple(NEEDS)
# Printed with six digits.
TOLERANCE = 2e-6
MOST_LINES = 110


@pytest.fixture(scope="module")
def server(unpacked) -> Unpacked:
    return unpacked("server")


@pytest.fixture(params=SCRIPTS)
def script(request) -> str:
    return request.param


@pytest.fixture
def bare(script: str, tmp_path: Path) -> dict[str, str]:
    return bare_environment(tmp_path / "packages", *SHARED, *NEEDS[script])


def python(environment: dict[str, str], *arguments: object, cwd: Path | None = None):
    return subprocess.run(
        [sys.executable, "-S", *map(str, arguments)],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def lines(stdout: str) -> dict[str, list[tuple[str, float]]]:
    """Path -> (label, probability) of its classes, as the scripts print them."""
    found = {}
    for line in stdout.splitlines():
        path, *answers = line.split("\t")
        pairs = (answer.rsplit(" ", 1) for answer in answers)
        found[path] = [(label, float(probability)) for label, probability in pairs]
    return found


def model_of(script: str, server: Unpacked) -> Path:
    suffix = script.removeprefix("infer_").removesuffix(".py")
    (model,) = server.folder.glob(f"*.{suffix}")
    return model


@pytest.mark.parametrize("name", ["tensorflow", "toolchain", "scipy", "fastapi"])
def test_the_environment_is_bare(bare, tmp_path: Path, name: str) -> None:
    tried = python(bare, "-c", f"import {name}", cwd=tmp_path)
    assert tried.returncode == 1
    assert f"No module named '{name}'" in tried.stderr


def test_a_folder_gives_the_answers_of_our_runner(script, bare, server, photos, tmp_path) -> None:
    done = python(bare, server.folder / script, photos, "--top", 3, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = lines(done.stdout)
    ours = our_answers(model_of(script, server), photos)
    assert set(found) == {str(path) for path in ours.paths}
    for path, row in zip(ours.paths, ours.probabilities, strict=True):
        answers = found[str(path)]
        expected = [float(row[("red", "green", "blue").index(label)]) for label, _ in answers]
        np.testing.assert_allclose([p for _, p in answers], expected, atol=TOLERANCE)
        assert answers == sorted(answers, key=lambda pair: -pair[1])


def test_one_photo_gives_one_line_with_its_best_class(
    script, bare, server, photos, tmp_path
) -> None:
    photo = photos / "turned.jpg"
    done = python(bare, server.folder / script, photo, cwd=tmp_path)
    ((path, answers),) = lines(done.stdout).items()
    assert path == str(photo)
    ours = our_answers(model_of(script, server), photos)
    row = ours.probabilities[ours.paths.index(photo)]
    assert answers[0][0] == ("red", "green", "blue")[int(row.argmax())]
    assert len(answers) == 1


def test_what_is_no_photo_is_told_and_the_others_have_their_lines(
    script, bare, server, tmp_path
) -> None:
    given = [tmp_path / name for name in ("photo.tiff", "a.png", "empty", "missing.jpg", "photos")]
    Image.new("RGB", (9, 9), "red").save(given[0], "TIFF")
    given[1].write_bytes(b"no photo")
    given[2].mkdir()
    (given[4] / "d.jpg").mkdir(parents=True)
    Image.new("RGB", (9, 9), "blue").save(given[4] / "b.png")
    (given[4] / "._b.png").write_bytes(b"a shadow")
    done = python(bare, server.folder / script, *given, cwd=tmp_path)
    assert done.returncode == 2
    found = lines(done.stdout)
    assert {path: top[0][0] for path, top in found.items()} == {
        str(given[0]): "red",
        str(given[4] / "b.png"): "blue",
    }
    told = [line for line in done.stderr.splitlines() if not line.startswith("INFO")]
    assert [line.split(": ")[:3] for line in told] == [
        ["error", "expected a photo", str(path)] for path in given[1:4]
    ]


def test_it_is_short_enough_to_be_read(script, server) -> None:
    assert len((server.folder / script).read_text().splitlines()) <= MOST_LINES


def test_both_scripts_prepare_photos_alike(server) -> None:
    """They stand alone, so they say some things twice: word for word."""
    texts = [
        {
            node.name: ast.unparse(node)
            for node in ast.parse((server.folder / script).read_text()).body
            if isinstance(node, ast.FunctionDef)
        }
        for script in SCRIPTS
    ]
    for name in ("read_contract", "to_pixels", "find_photos", "is_photo", "read_pixels"):
        assert texts[0][name] == texts[1][name]
