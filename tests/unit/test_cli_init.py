"""`toolchain init`: a small recipe for a folder of photos, and what was assumed in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import in_process
from photo_files import class_folders, photo, write_folder, write_tar

from toolchain.cli.draft import draft_recipe, probe_recipe
from toolchain.cli.init import init
from toolchain.errors import InputError
from toolchain.recipe import load_recipe


@pytest.fixture(autouse=True)
def _no_weights_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOOLCHAIN_DATA", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))


@pytest.mark.parametrize(
    "name", ["photos", "my photos", "Fotos für 'mich'", 'a "b" \\c', "2024.06"]
)
def test_the_recipe_reads_back_as_it_was_meant(name: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / name, class_folders())
    draft = draft_recipe(folder)
    written = tmp_path / f"{draft.recipe.name}.toml"
    written.write_text(draft.text)
    assert load_recipe(written) == draft.recipe
    assert Path(draft.recipe.data.path) == folder
    assert len(draft.text.splitlines()) < 15


def test_what_was_assumed_is_said(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pets", class_folders(("cat", "dog", "bird"), each=4))
    said = " ".join(draft_recipe(folder).assumptions)
    for words in ("12 photos in 3 classes", "bird, cat, dog", "layout folders", "comes along"):
        assert words in said


def test_given_splits_are_kept(tmp_path: Path) -> None:
    files = {
        f"{split}/{name}": data
        for split in ("train", "val", "test")
        for name, data in class_folders().items()
    }
    said = " ".join(draft_recipe(write_folder(tmp_path / "pets", files)).assumptions)
    assert "split-folders" in said
    assert "its split kept: test, train, validation" in said


def test_imagenet_weights_are_taken_when_they_are_at_hand(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pets", class_folders())
    assert draft_recipe(folder).recipe.model.weights == "embedded"
    cache = tmp_path / "keras" / "models"
    cache.mkdir(parents=True)
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_160_no_top.h5"
    (cache / name).write_bytes(b"123")
    draft = draft_recipe(folder)
    assert draft.recipe.model.weights == "imagenet"
    assert draft.recipe.augment.flip
    assert name in " ".join(draft.assumptions)


def test_the_command_writes_it_and_says_what_to_type_next(tmp_path: Path) -> None:
    write_tar(tmp_path / "pets.tar.gz", class_folders())
    done = in_process("init", "pets.tar.gz", "--json", cwd=tmp_path, KERAS_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    path = tmp_path / "models" / "pets" / "recipe.toml"
    assert json.loads(done.stdout)["recipe"] == str(path.relative_to(tmp_path))
    assert "toolchain run --recipe models/pets/recipe.toml" in done.stderr
    recipe = load_recipe(path)
    assert (recipe.name, recipe.data.path) == ("pets", str(tmp_path / "pets.tar.gz"))


def test_what_to_type_next_can_be_pasted(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", class_folders())
    done = in_process(
        "init", "pets", "-o", "~/my recipes/it.toml", cwd=tmp_path, HOME=str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    path = tmp_path / "my recipes" / "it.toml"
    assert path.is_file()
    assert f"next: toolchain run --recipe '{path}'" in done.stderr


def test_photos_are_found_in_the_folder_of_data_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "data" / "datasets" / "pets", class_folders())
    monkeypatch.setenv("TOOLCHAIN_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    assert draft_recipe(Path("pets")).recipe.data.path == str(folder)
    assert probe_recipe(Path("pets")).data.path == str(folder)
    nearer = write_folder(tmp_path / "pets", class_folders())
    assert draft_recipe(Path("pets")).recipe.data.path == str(nearer)


def test_overwriting_has_to_be_asked_for(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", class_folders())
    arguments = ("init", "pets", "--output", "mine.toml")
    (tmp_path / "mine.toml").write_text("precious")
    assert in_process(*arguments, cwd=tmp_path).returncode == 2
    assert (tmp_path / "mine.toml").read_text() == "precious"
    assert in_process(*arguments, "--overwrite", cwd=tmp_path).returncode == 0
    assert "[data]" in (tmp_path / "mine.toml").read_text()


def test_where_no_recipe_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "pets", class_folders())
    (tmp_path / "file").write_text("precious")
    monkeypatch.chdir(tmp_path)
    for output in ("file/recipe.toml", "file/deeper/recipe.toml", "pets", "x" * 300):
        for overwrite in (False, True):
            with pytest.raises(InputError) as caught:
                init("pets", output, overwrite)
            assert len(caught.value.lines()) == 3
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("source", ["digits", "tfds:mnist"])
def test_photos_are_not_given_up_for_images_of_another_source(tmp_path: Path, source: str) -> None:
    folder = write_folder(tmp_path / "pets", class_folders())
    for read in (draft_recipe, probe_recipe):
        with pytest.raises(InputError, match=f"received {source} too"):
            read(folder, [f"data.source={source}"])


def test_the_layout_may_be_said_beside_the_photos(tmp_path: Path) -> None:
    files = {f"{split}/cat/1.png": photo(n) for n, split in enumerate(("train", "test"))}
    folder = write_folder(tmp_path / "pets", files)
    with pytest.raises(InputError, match="found one: cat"):
        draft_recipe(folder)
    assert "test, train" in draft_recipe(folder, ["data.source=folders"]).assumptions[0]


def test_a_path_that_is_no_utf8_is_refused_clearly(tmp_path: Path) -> None:
    folder = tmp_path / "caf\udce9"
    with pytest.raises(InputError, match=r"UTF-8\n.*caf.udce9"):
        draft_recipe(folder)


def test_a_path_with_spaces_of_other_kinds(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a\u3000b", class_folders(("cat\u00a0one", "dog")))
    draft = draft_recipe(folder)
    assert draft.recipe.data.path == str(folder)
    assert "cat\u00a0one, dog" in draft.assumptions[0]
