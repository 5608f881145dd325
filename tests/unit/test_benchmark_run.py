"""What `toolchain benchmark` takes from a run's folder and keeps in it."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from finished_run import export_again, finished_run
from photo_files import class_folders, write_folder

from toolchain.cli import benchmarking, published
from toolchain.cli.benchmark import _chosen
from toolchain.data.stage import build_dataset
from toolchain.recipe import Recipe, parse_recipe
from toolchain.run import Run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def run(finished: Run, tmp_path: Path) -> Run:
    """A finished run to change."""
    shutil.copytree(finished.folder, tmp_path / "digits")
    return Run(tmp_path, "digits")


def test_photos_that_the_data_stage_left_out_are_not_decoded(tmp_path: Path) -> None:
    photos = class_folders(each=20) | {"cat/00.png": b"no photo"}
    folder = write_folder(tmp_path / "photos", photos)
    data = {"path": str(folder), "on_bad_image": "skip"}
    recipe = parse_recipe({"data": data, "input": {"size": 32}}, name="pets")
    run = Run(tmp_path, "pets")
    with run.publish("data", "k") as out:
        build_dataset(recipe, out)
    taken = benchmarking._photos(recipe, run)
    assert taken.described == "the first 16 photos of pets"
    assert set(taken.encoded) <= set(photos.values()) - {b"no photo"}


def test_files_that_were_exported_again_have_no_accuracy_until_they_are_verified(run: Run) -> None:
    assert len(benchmarking._verified(run, published.exported(run))) == 4
    export_again(run)
    assert benchmarking._verified(run, published.exported(run)) == {}


def test_logs_of_one_name_are_kept_beside_each_other(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "phone.log"
    text = (Path(__file__).parent / "phone_logs" / "shell.log").read_text()
    for phone in ("Maker Model 7", "Other Model 8", "Maker Model 7"):
        log.write_text(text.replace("Maker Model 7", phone))
        benchmarking.import_log(log, run)
    kept = published.phones(run)
    assert [one.machine["phone"] for one in kept.values()] == ["Maker Model 7", "Other Model 8"]
    assert next(iter(kept)).startswith("maker-model-7-2026-11-02t101112-0000-")


def test_a_run_is_timed_as_its_own_recipe_says_unless_another_is_given(run: Run) -> None:
    recipe = published.recipe(run)
    chosen = _chosen([Path("a.onnx"), run.folder], "", "", ["benchmark.runs=77"])
    assert (chosen.name, chosen.train) == (recipe.name, recipe.train)
    assert chosen.benchmark == dataclasses.replace(recipe.benchmark, runs=77)
    assert _chosen([run.folder], "cats-vs-dogs-mobilenetv2", "", None).name.startswith("cats")
    assert _chosen([Path("a.onnx")], "", "", None).name == "digits"


def test_photos_are_those_of_the_runs_recipe(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Recipe, Path]] = []

    def stop(recipe: Recipe, run: Run) -> None:
        asked.append((recipe, run.folder))
        raise StopIteration

    recipe = published.recipe(run)
    monkeypatch.setattr(benchmarking, "_photos", stop)
    with pytest.raises(StopIteration):
        benchmarking.measure_targets([run.folder], recipe)
    assert asked == [(recipe, run.folder)]
