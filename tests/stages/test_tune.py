"""`toolchain tune` on a folder of photos: trained, chosen on validation, verified, resumed."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from command_line import in_process, settings, toolchain
from PIL import Image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reddish and bluish photos."""
    pytest.importorskip("tf_keras")
    root, random = tmp_path_factory.mktemp("tune"), np.random.default_rng(0)
    for channel, name in ((0, "red"), (2, "blue")):
        (root / "photos" / name).mkdir(parents=True)
        for index in range(40):
            pixels = random.integers(0, 120, (24, 30, 3), dtype=np.uint8)
            pixels[:, :, channel] += 120
            Image.fromarray(pixels).save(root / "photos" / name / f"{index}.jpg")
    return root


def tune(folder: Path, *more: object):
    few = settings(
        model__weights="none",
        input__size=32,
        train__epochs=1,
        benchmark__runs=10,
        verify__fp32_difference=1e-3,
    )
    chosen = ("--alphas", "0.35", "--sizes", "40,8", "--precisions", "fp32", "--formats", "onnx")
    return toolchain("tune", "--data", "photos", *chosen, *few, "--json", *more, cwd=folder)


# The slow half: tests/unit/test_tuning_search.py tests the order of things without training.
@pytest.mark.slow
def test_it_trains_chooses_writes_a_recipe_and_goes_on(folder: Path) -> None:
    done = tune(folder, "--max-mb", 20)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    names = ["photos-a0.35-s32", "photos-a0.35-s40"]
    assert [trial["variant"] for trial in found["trials"]] == names
    assert [one["variant"] for one in found["untried"]] == ["photos-a0.35-s8"]
    assert "[1/2] photos-a0.35-s32" in done.stderr
    chosen = found["trials"][found["chosen"]]
    assert 0 <= found["test"]["value"] <= 1
    recipe = tomllib.loads((folder / found["ships"]).read_text())
    assert recipe["name"] == chosen["variant"]
    assert recipe["input"]["size"] == chosen["size"]
    assert (folder / "runs" / "photos-tune.html").is_file()
    runs = {name: folder / "runs" / name for name in names}
    verified = [name for name, run in runs.items() if (run / "verify").exists()]
    # The test split is opened by verify alone, and that ran for the chosen one alone.
    assert verified == [chosen["variant"]]

    again = tune(folder, "--max-mb", 20)
    assert again.returncode == 0, again.stderr
    assert ": done in" not in again.stderr
    assert again.stderr.count("tune: up to date") == 2
    assert json.loads(again.stdout)["trials"] == found["trials"]

    # The recipe makes the same run: nothing is left to do.
    same = toolchain("run", "--recipe", found["ships"], cwd=folder)
    assert same.returncode == 0, same.stderr
    assert ": done in" not in same.stderr

    too_small = tune(folder, "--max-mb", 0.001)
    assert too_small.returncode == 3
    assert "No file is within 0.001 MB" in too_small.stderr


@pytest.mark.parametrize("wrong", [("--max-ms", 0), ("--alphas", "a"), ("--sizes", "1.5")])
def test_what_cannot_be_read_is_wrong_input(wrong, tmp_path: Path) -> None:
    done = in_process("tune", "--recipe", "digits", *wrong, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
