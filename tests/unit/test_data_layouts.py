"""Layouts of photo folders as people have them, and what is no layout."""

from __future__ import annotations

from pathlib import Path

import pytest
from photo_files import class_folders, write_folder, write_tar, write_zip

from toolchain.data.containers import Entry, open_container
from toolchain.data.layouts import Layout, recognise
from toolchain.errors import DataError

PLAIN = ("cat/1.jpg", "cat/2.JPG", "dog/1.jpeg", "dog/sub/2.png")


def layout_of(
    files: tuple[str, ...], folders: tuple[str, ...] = (), source: str = "auto"
) -> Layout:
    entries = [Entry(name, 10, False) for name in files]
    return recognise(entries + [Entry(name, 0, True) for name in folders], source, "photos")


def classes_by_name(layout: Layout) -> dict[str, str]:
    return {item.name: item.class_name for item in layout.items}


def test_class_folders() -> None:
    layout = layout_of(PLAIN, ("cat", "dog", "dog/sub"))
    assert (layout.name, layout.classes) == ("folders", ("cat", "dog"))
    assert classes_by_name(layout) == {
        "cat/1.jpg": "cat",
        "cat/2.JPG": "cat",
        "dog/1.jpeg": "dog",
        "dog/sub/2.png": "dog",
    }
    assert {item.split for item in layout.items} == {None}


@pytest.mark.parametrize("root", ["photos", "a/b", "a/b/c", ".//x"])
def test_folders_that_everything_lies_in_are_looked_through(root: str) -> None:
    root = root.removeprefix(".//")
    parts = root.split("/")
    above = tuple("/".join(parts[:end]) for end in range(1, len(parts) + 1))
    layout = layout_of(tuple(f"{root}/{name}" for name in PLAIN), above)
    assert layout.classes == ("cat", "dog")


@pytest.mark.parametrize("root", ["", "data/", "a/b/c/"])
@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Validation"])
def test_split_folders(root: str, validation: str) -> None:
    files = tuple(
        f"{root}{split}/{name}/1.jpg"
        for split in ("train", validation, "TEST")
        for name in ("cat", "dog")
    )
    folders = tuple({file.rsplit("/", depth)[0] for file in files for depth in (1, 2, 3)})
    layout = layout_of(files, tuple(f for f in folders if not f.endswith(".jpg")))
    assert (layout.name, layout.classes) == ("split-folders", ("cat", "dog"))
    splits = {item.name.removeprefix(root).split("/")[0]: item.split for item in layout.items}
    assert splits == {"train": "train", validation: "validation", "TEST": "test"}


def test_a_train_folder_alone_is_a_folder_of_classes() -> None:
    layout = layout_of(("train/cat/1.jpg", "train/dog/1.jpg"), ("train", "train/cat", "train/dog"))
    assert (layout.name, layout.classes) == ("folders", ("cat", "dog"))


@pytest.mark.parametrize("root", ["", "train/"])
def test_names_as_kaggle_gives_them(root: str) -> None:
    files = tuple(f"{root}{name}.{i}.jpg" for name in ("cat", "dog") for i in range(3))
    layout = layout_of(files, ("train",) if root else ())
    assert (layout.name, layout.classes) == ("kaggle-names", ("cat", "dog"))


SPLIT = ("train/cat/1.jpg", "train/dog/1.jpg", "test/cat/1.jpg", "test/dog/1.jpg")


@pytest.mark.parametrize(
    "stray", ["train/cover.jpg", "cover.jpg", "extra/1.jpg", "val/1.jpg", "testing/cat/1.jpg"]
)
def test_folders_of_splits_never_become_classes(stray: str) -> None:
    with pytest.raises(DataError, match="are named as splits") as caught:
        layout_of((*SPLIT, stray) if "/" in stray else (*SPLIT, f"train/{stray}"))
    assert stray.removesuffix("cat/1.jpg") in caught.value.what
    assert len(caught.value.lines()) == 3


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (
            ("training_set/training_set/{}/1.jpg", "test_set/test_set/{}/2.jpg"),
            {"train", "test"},
        ),
        (("seg_train/seg_train/{}/1.jpg", "seg_test/seg_test/{}/2.jpg"), {"train", "test"}),
        (("train_images/{}/1.jpg", "valid_images/{}/2.jpg"), {"train", "validation"}),
        (("train/{}/1.jpg", "dev/{}/2.jpg"), {"train", "validation"}),
        (("train/{}/1.jpg", "dev/{}/2.jpg", "eval/{}/3.jpg"), {"train", "validation", "test"}),
        (("train/{}/1.jpg", "eval/{}/2.jpg", "test/{}/3.jpg"), {"train", "validation", "test"}),
    ],
)
def test_folders_of_splits_by_other_names(files: tuple[str, ...], splits: set[str]) -> None:
    layout = layout_of(tuple(name.format(c) for name in files for c in ("cat", "dog")))
    assert (layout.name, layout.classes) == ("split-folders", ("cat", "dog"))
    assert {item.split for item in layout.items} == splits


@pytest.mark.parametrize(
    "unlabelled",
    ["test/{}.jpg", "test/test/{}.jpg", "seg_pred/seg_pred/{}.jpg", "test/unknown/{}.jpg"],
)
def test_photos_to_predict_beside_train_are_left_aside_aloud(unlabelled: str) -> None:
    labelled = ("train/cat/1.jpg", "train/dog/1.jpg")
    layout = layout_of((*labelled, *(unlabelled.format(n) for n in range(3))))
    assert (layout.name, layout.classes) == ("split-folders", ("cat", "dog"))
    assert {item.name: item.split for item in layout.items} == dict.fromkeys(labelled)
    assert any("holds 3 photos without a class" in note for note in layout.notes)


def test_kaggles_test_folder_has_no_classes() -> None:
    labelled = ("train/cat.0.jpg", "train/dog.0.jpg")
    layout = layout_of((*labelled, "test1/1.jpg", "test1/2.jpg"))
    assert (layout.name, layout.classes) == ("kaggle-names", ("cat", "dog"))
    assert {item.name: item.split for item in layout.items} == dict.fromkeys(labelled)
    assert layout.notes == ("test1/ holds 2 photos without a class, which are left aside",)
    splits = layout_of((*labelled, "test/cat.1.jpg", "test/dog.1.jpg")).items
    assert {item.name: item.split for item in splits}["test/dog.1.jpg"] == "test"
    with pytest.raises(DataError, match=r"train/x\.jpg"):
        layout_of((*labelled, "train/x.jpg", "test1/1.jpg"))


def test_one_class_may_be_called_as_a_split() -> None:
    layout = layout_of(("train/1.jpg", "car/1.jpg"))
    assert layout.classes == ("car", "train")
    assert layout.notes == ("the folder train is taken as a class",)


def test_a_folder_of_a_split_beside_other_photos_is_no_class() -> None:
    files = ("train/cat/1.jpg", "train/dog/2.jpg", "background/3.jpg")
    with pytest.raises(DataError, match="folder train is named as a split, but background/3"):
        layout_of(files)
    assert layout_of(files, source="folders").classes == ("background", "train")


@pytest.mark.parametrize("above", ["", "photos/"])
@pytest.mark.parametrize("train", [("train/{}/1.jpg",), ("train/{}/1.jpg", "test/{}/2.jpg")])
def test_a_split_without_photos_that_are_read_is_not_drawn_unnoticed(
    train: tuple[str, ...], above: str
) -> None:
    files = tuple(above + name.format(c) for name in train for c in ("cat", "dog"))
    with pytest.raises(DataError, match=r"val/ holds no photos but 2 \.heic") as caught:
        layout_of((*files, f"{above}val/cat/1.heic", f"{above}val/dog/1.HEIC"), (f"{above}val",))
    assert "JPEG" in caught.value.remedy
    notes = layout_of(files, (f"{above}val", f"{above}val/cat", f"{above}docs")).notes
    assert f"{above}val/ holds no photos: a share of the others takes its place" in notes


NESTED = tuple(f"{c}/{s}/1.jpg" for c in ("cat", "dog") for s in ("train", "valid", "test"))


def test_splits_inside_class_folders_are_kept() -> None:
    layout = layout_of(NESTED)
    assert (layout.name, layout.classes) == ("folders", ("cat", "dog"))
    splits = {item.name.split("/")[1]: item.split for item in layout.items}
    assert splits == {"train": "train", "valid": "validation", "test": "test"}
    assert layout.notes == ()
    evaluated = tuple(name.replace("valid", "eval") for name in NESTED)
    assert {item.split for item in layout_of(evaluated).items} == {"train", "validation", "test"}
    one = layout_of(("cat/train/1.jpg", "dog/train/1.jpg"))
    assert {item.split for item in one.items} == {None}


@pytest.mark.parametrize("other", ["bird/1.jpg", "bird/sub/1.jpg", "cat/more/1.jpg"])
def test_splits_inside_some_class_folders_are_told(other: str) -> None:
    layout = layout_of((*NESTED, other))
    assert {item.split for item in layout.items} == {None}
    assert any("named test, train, valid lie in class folders" in note for note in layout.notes)


def test_accents_in_two_forms_are_one_class() -> None:
    files = ("train/caf\u00e9/1.jpg", "train/dog/1.jpg", "test/cafe\u0301/1.jpg", "test/dog/1.jpg")
    assert layout_of(files).classes == ("caf\u00e9", "dog")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ((*PLAIN, "cover.jpg"), "cover.jpg lies in no class folder"),
        (("cat.1.jpg", "dog.2.jpg", "cover.jpg"), "cover.jpg has no name like cat.123.jpg"),
        (("photos/cat/1.jpg", "photos/dog/1.jpg", "photos/a.gif"), "photos/a.gif lies in no"),
    ],
)
def test_the_photo_that_fits_no_layout_is_named(files: tuple[str, ...], words: str) -> None:
    with pytest.raises(DataError, match="no known layout") as caught:
        layout_of(files)
    assert words in caught.value.what


def test_a_recipe_may_name_the_layout() -> None:
    files = ("train/cat/1.jpg", "train/dog/1.jpg", "test/cat/1.jpg", "test/dog/1.jpg")
    assert layout_of(files, source="folders").classes == ("test", "train")
    with pytest.raises(DataError, match="no known layout"):
        layout_of(files, source="kaggle-names")


def test_hidden_files_and_what_is_no_image_are_ignored() -> None:
    layout = layout_of(
        (
            *PLAIN,
            "__MACOSX/cat/._1.jpg",
            ".git/x.png",
            "cat/.hidden.jpg",
            "cat/Thumbs.db",
            "readme.txt",
        ),
        ("__MACOSX", "__MACOSX/cat", ".git", "cat", "dog"),
    )
    assert tuple(sorted(classes_by_name(layout))) == tuple(sorted(PLAIN))


def test_other_folders_beside_the_photos_are_no_classes() -> None:
    files = tuple(f"photos/{name}" for name in PLAIN)
    assert layout_of(files, ("photos", "docs", "docs/old")).classes == ("cat", "dog")
    split = ("train/cat/1.jpg", "train/dog/1.jpg", "test/cat/1.jpg")
    assert layout_of(split, ("train", "test", "docs", "docs/old")).classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("files", "folders", "words"),
    [
        ((), ("cat", "dog"), "found none"),
        (("readme.txt",), (), "found none"),
        (("cat/1.jpg", "cat/2.jpg"), ("cat",), "found one: cat"),
        (("a/b/cat/1.jpg",), ("a", "a/b", "a/b/cat"), "found one: cat"),
        (("cat.0.jpg", "cat.1.jpg"), (), "found one: cat"),
        (PLAIN, ("cat", "dog", "bird"), "'bird' holds no photos"),
        (("cat/1.jpg",), ("cat", "dog"), "'dog' holds no photos"),
        (("a/b/cat/1.jpg",), ("a", "a/b", "a/b/cat", "a/b/dog"), "'dog' holds no photos"),
        (
            ("train/cat/1.jpg", "train/dog/1.jpg", "test/cat/1.jpg"),
            ("train/cat", "train/dog", "test/cat", "test/dog"),
            "'test/dog' holds no photos",
        ),
        (("1.jpg", "2.jpg"), (), "no known layout"),
        (("cat/1.jpg", "dog/1.jpg", "cover.jpg"), (), "no known layout"),
        (("cat/1.jpg", "d\x1b[2Jog/1.jpg"), (), "printable"),
        (("cat/1.jpg", "d\u2028og/1.jpg"), (), "printable"),
    ],
)
def test_what_is_refused(files: tuple[str, ...], folders: tuple[str, ...], words: str) -> None:
    with pytest.raises(DataError) as caught:
        layout_of(files, folders)
    assert words in caught.value.what
    assert caught.value.where == "photos"
    assert caught.value.remedy
    assert len(caught.value.lines()) == 3


def test_a_folder_and_its_archives_have_the_same_layout(tmp_path: Path) -> None:
    files = {f"my photos/{name}": data for name, data in class_folders().items()}
    containers = [
        write_folder(tmp_path / "x", files),
        write_zip(tmp_path / "x.zip", files),
        write_tar(tmp_path / "x.tar.gz", files),
    ]
    found = {recognise(open_container(path).entries(), "auto", "x") for path in containers}
    assert len(found) == 1
    assert found.pop().classes == ("cat", "dog")


def test_an_empty_class_folder_on_disk(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "x", class_folders())
    (folder / "bird").mkdir()
    with pytest.raises(DataError, match="'bird' holds no photos"):
        recognise(open_container(folder).entries(), "auto", str(folder))
