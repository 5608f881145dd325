"""What `toolchain benchmark` takes from a run's folder: photos, and evidence of its files."""

from __future__ import annotations

from pathlib import Path

from finished_run import export_again, finished_run
from photo_files import class_folders, write_folder

from toolchain.cli import benchmarking, published
from toolchain.data.stage import build_dataset
from toolchain.recipe import parse_recipe
from toolchain.run import Run


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


def test_files_that_were_exported_again_have_no_accuracy_until_they_are_verified(
    tmp_path: Path,
) -> None:
    run = finished_run(tmp_path)
    assert len(benchmarking._verified(run, published.exported(run))) == 4
    export_again(run)
    assert benchmarking._verified(run, published.exported(run)) == {}
