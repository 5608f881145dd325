"""What makes a stage run again, and which stages a recipe needs."""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from toolchain.cli import chain
from toolchain.cli.chain import STAGES, TUNE_ONNX, Stage, depends_on, needed, run_chain, say_next
from toolchain.cli.options import open_run
from toolchain.errors import ExitCode, InputError, StoppedError
from toolchain.files import sha256_json
from toolchain.recipe import Recipe, parse_recipe
from toolchain.run import Run

FLOATS = ("fp32", "fp16", "w8")


def recipe_for(*precisions: str, **quantize: int) -> Recipe:
    table = {
        "data": {"source": "digits"},
        "quantize": quantize,
        "export": {"precisions": list(precisions)},
    }
    return parse_recipe(table, name="digits")


def key(*precisions: str, **quantize: int) -> str:
    recipe = recipe_for(*precisions, **quantize)
    upstream = {"data": "photos", "train": "weights"}
    return sha256_json(depends_on(STAGES["quantize"], recipe, upstream))


def test_other_files_are_no_reason_to_quantize_again() -> None:
    asked = key("fp32", "int8-qat")
    assert key(*FLOATS, "int8-ptq", "int8-qat") == asked
    assert key("int8-qat") == asked


def test_what_is_seen_of_photos_is_a_reason_to_decode_them_again() -> None:
    """Else a network would be trained on whole photos, and its clients would crop them."""
    keys = set()
    for shown in ({"size": 32}, {"size": 48}, {"size": 32, "crop": 0.875}):
        recipe = parse_recipe({"data": {"source": "digits"}, "input": shown}, name="digits")
        keys.add(sha256_json(depends_on(STAGES["data"], recipe, {})))
    assert len(keys) == 3


def test_training_is_a_reason() -> None:
    """int8-ptq alone is calibrated only; int8-qat added to it needs the epochs."""
    assert key("fp32", "int8-ptq") != key("fp32", "int8-ptq", "int8-qat")
    assert key("int8-qat", epochs=1) != key("int8-qat", epochs=2)


@pytest.mark.parametrize(
    ("precisions", "quantizes"),
    [(FLOATS, False), (("fp32", "int8-ptq"), True), (("int8-qat",), True)],
)
def test_float_files_alone_need_no_quantization(
    precisions: tuple[str, ...], quantizes: bool
) -> None:
    names = [stage.name for stage in needed("report", recipe_for(*precisions))]
    assert ("quantize" in names) == quantizes


@pytest.mark.parametrize(
    ("until", "precisions", "following"),
    [
        ("train", FLOATS, "export"),
        ("train", ("int8-qat",), "quantize"),
        ("quantize", ("int8-qat",), "export"),
        ("quantize", FLOATS, "export"),
        (TUNE_ONNX.name, ("int8-qat",), "export"),
        ("report", ("int8-qat",), None),
    ],
)
def test_the_next_stage_is_told(
    until: str, precisions: tuple[str, ...], following: str | None, monkeypatch
) -> None:
    assert told_next(until, precisions, monkeypatch, "toolchain train --runs r") == (
        [f"next: toolchain {following} --runs r"] if following else []
    )


@pytest.mark.parametrize(
    ("typed", "next_command"),
    [
        ("toolchain train", "toolchain quantize"),
        ("toolchain --debug train --force", "toolchain --debug quantize"),
        (
            "toolchain train --recipe 'my train' --json",
            "toolchain quantize --recipe 'my train' --json",
        ),
        ("make train", "make quantize"),
        (
            "make -k train RECIPE=x.toml RUNS='my runs'",
            "make quantize RUNS=my\\ runs RECIPE=x.toml",
        ),
    ],
)
def test_the_next_command_can_be_pasted(typed: str, next_command: str, monkeypatch) -> None:
    assert told_next("train", ("int8-qat",), monkeypatch, typed) == [f"next: {next_command}"]


def told_next(until: str, precisions: tuple[str, ...], monkeypatch, typed: str) -> list[str]:
    told: list[str] = []
    program, *words = shlex.split(typed)
    for name in ("MAKELEVEL", "MAKEFLAGS", "MAKEOVERRIDES"):
        monkeypatch.delenv(name, raising=False)
    if program == "make":
        makefile = "train: ; @env"
        command = ["make", "-f", "-", *words]
        made = subprocess.run(command, input=makefile, capture_output=True, text=True, check=True)
        for line in made.stdout.splitlines():
            if line.startswith(("MAKELEVEL=", "MAKEFLAGS=")):
                monkeypatch.setenv(*line.split("=", 1))
    monkeypatch.setattr(sys, "argv", [program, *words])
    monkeypatch.setattr(chain, "say", told.append)
    say_next(until, recipe_for(*precisions))
    return told


def test_forms_are_tried_after_what_they_are_forms_of() -> None:
    names = [stage.name for stage in needed(TUNE_ONNX.name, recipe_for("int8-qat"))]
    assert names == ["data", "train", "quantize", "onnx-forms"]


def test_forms_of_no_int8_file_are_refused_before_anything_runs(tmp_path) -> None:
    run = Run(tmp_path, "digits")
    with pytest.raises(InputError, match=r"int8 precision.*received fp32, fp16, w8") as caught:
        run_chain(recipe_for(*FLOATS), run, TUNE_ONNX.name)
    assert caught.value.exit_code == ExitCode.INPUT == 2
    assert 'add "int8-qat"' in caught.value.remedy
    assert not any(run.stage(name).exists() for name in STAGES)


class Counting:
    """Work of three steps, each kept; the user stops it after so many."""

    def __init__(self) -> None:
        self.stop_after, self.steps = 3, []

    def __call__(self, recipe, run, out, kept) -> None:
        path = kept.path("done")
        for step in range(path.stat().st_size if path.exists() else 0, 3):
            if step == self.stop_after:
                raise KeyboardInterrupt
            self.steps.append(step)
            kept.write("done", b"x" * (step + 1), f"train after epoch {step + 1} of 3")
        (out / "result").write_bytes(b"done")


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    """The chain has one stage, "train", which counts."""
    work = Counting()
    stage = Stage("train", ("train",), (), work, lambda run: None, goes_on=True)
    monkeypatch.setattr(chain, "needed", lambda until, recipe: [stage])
    return work


def left(run: Run) -> list[str]:
    return sorted(path.name.split("-")[0] for path in run.folder.glob(".train*"))


def test_a_stopped_stage_says_how_to_go_on_and_goes_on(counting, tmp_path) -> None:
    run, recipe = Run(tmp_path, "digits"), recipe_for("fp32")
    counting.stop_after = 0
    with pytest.raises(StoppedError, match="stage train was not finished"):
        run_chain(recipe, run, "train")
    assert left(run) == []
    counting.stop_after = 2
    with pytest.raises(StoppedError) as caught:
        run_chain(recipe, run, "train")
    assert caught.value.exit_code == ExitCode.INTERRUPTED
    assert caught.value.lines() == [
        "interrupted: train after epoch 2 of 3 is kept",
        f"  {run.folder}",
        "  the same command goes on from there",
    ]
    assert left(run) == [".train.unfinished"]
    assert run.manifest("train") is None
    counting.stop_after = 3
    run_chain(recipe, run, "train")
    assert counting.steps == [0, 1, 2]
    assert left(run) == []
    assert (run.stage("train") / "result").exists()


def test_other_settings_start_over_aloud_and_the_first_may_come_back(
    counting, tmp_path, monkeypatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(chain, "say", told.append)
    run, first = Run(tmp_path, "digits"), recipe_for("fp32")
    second = replace(first, train=replace(first.train, seed=first.train.seed + 1))
    counting.stop_after = 1
    for recipe in (first, second):
        with pytest.raises(StoppedError):
            run_chain(recipe, run, "train")
    assert f"  train.seed was {first.train.seed}, is {second.train.seed}" in told
    assert counting.steps == [0, 0]
    assert len(left(run)) == 2
    counting.stop_after = 3
    run_chain(first, run, "train")
    assert counting.steps == [0, 0, 1, 2]
    assert left(run) == []


def test_what_a_stage_depends_on_is_looked_at_once(monkeypatch, tmp_path) -> None:
    """It may be every photo of a folder."""
    looks: list[str] = []

    def external(recipe: Recipe) -> str:
        looks.append(recipe.name)
        return "photos"

    stage = Stage("data", ("data",), (), lambda *_: None, lambda run: None, external)
    monkeypatch.setattr(chain, "needed", lambda until, recipe: [stage])
    run_chain(recipe_for("fp32"), Run(tmp_path, "digits"), "data")
    assert looks == ["digits"]


def test_results_do_not_go_into_the_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, a stage's folder would be a class the next time."""
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    table = {"data": {"path": "photos"}}
    with pytest.raises(InputError, match="that of the photos") as caught:
        open_run(parse_recipe(table, name="photos"), Path())
    assert "--runs" in caught.value.remedy
    assert open_run(parse_recipe(table, name="photos"), Path("runs")).folder == Path("runs/photos")


def test_the_same_photos_again_are_no_reason_to_train_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Downloaded once more, or mounted elsewhere: they are decoded, and nothing else."""
    trained: list[str] = []
    train = Stage("train", (), ("data",), lambda *_: trained.append("once"), lambda run: None)
    monkeypatch.setattr(chain, "needed", lambda until, recipe: [STAGES["data"], train])
    photo = photos(tmp_path / "photos")[0]
    run = Run(tmp_path / "runs", "photos")
    recipe = parse_recipe(
        {"data": {"path": str(tmp_path / "photos")}, "input": {"size": 32}}, name="photos"
    )
    run_chain(recipe, run, "train")
    before = run.manifest("data")
    photo.write_bytes(photo.read_bytes())
    run_chain(recipe, run, "train")
    assert run.manifest("data").key != before.key
    assert run.manifest("data").digest() == before.digest()
    assert trained == ["once"]
    Image.new("RGB", (32, 32), (9, 9, 9)).save(photo)
    run_chain(recipe, run, "train")
    assert trained == ["once", "once"]


def photos(folder: Path) -> list[Path]:
    paths = [folder / name / f"{at}.png" for name in ("cat", "dog") for at in range(24)]
    for at, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (at * 5, at * 3, 200 - at)).save(path)
    return paths
