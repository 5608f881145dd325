"""A CSV or TSV of path and label, as people write them, and what is no such table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from photo_files import photo, write_folder, write_tar, write_zip

from toolchain.data.archives import TarContainer
from toolchain.data.source import find_source, fingerprint, open_source
from toolchain.data.sources import base
from toolchain.errors import DataError
from toolchain.recipe import parse_recipe

PHOTOS = {f"images/{n}.png": photo(n) for n in range(4)}
LABELS = {f"images/{n}.png": ("cat", "dog")[n % 2] for n in range(4)}
ROWS = "".join(f"{name},{label}\n" for name, label in LABELS.items())


def folder(tmp_path: Path, text: str | bytes, name: str = "labels.csv") -> Path:
    data = text.encode() if isinstance(text, str) else text
    return write_folder(tmp_path / "x", {**PHOTOS, name: data})


def labels(path: Path) -> dict[str, str]:
    source = find_source(path)
    assert source.layout.name == "table"
    read = {item.name: data for item, data in source.read()}
    assert read == PHOTOS
    return {item.name: item.class_name for item in source.layout.items}


@pytest.mark.parametrize(
    "text",
    [
        ROWS,
        "path,label\n" + ROWS,
        "\ufeffpath,label\r\n" + ROWS.replace("\n", "\r\n"),
        "image,breed\n" + ROWS,
        "breed,filename\n" + "".join(f"{v},{k}\n" for k, v in LABELS.items()),
        "".join(f"{v},{k}\n" for k, v in LABELS.items()),
        "id,label,path\n" + "".join(f"7,{v},{k}\n" for k, v in LABELS.items()),
        ROWS.replace(",", ";"),
        ROWS.replace(",", "\t"),
        "path\tlabel\n" + ROWS.replace(",", "\t"),
        ",image_path,label\n" + "".join(f"{n},{row}\n" for n, row in enumerate(ROWS.split())),
        "name,path,label\n" + "".join(f"x,{row}\n" for row in ROWS.split()),
        "".join(f"{row},640,480\n" for row in ROWS.split()),
        ROWS.replace("images/", "images\\"),
        ROWS.replace("images/", "./images/"),
        "\n" + ROWS.replace("\n", "\n\n"),
        "path,label\n" + "".join(f'"{k}"," {v} "\n' for k, v in LABELS.items()),
        "sep=;\r\npath;label\r\n" + ROWS.replace(",", ";"),
        "sep=\t\n" + ROWS.replace(",", "\t"),
    ],
)
def test_tables_as_people_write_them(tmp_path: Path, text: str) -> None:
    assert labels(folder(tmp_path, text)) == LABELS


def test_tabs(tmp_path: Path) -> None:
    assert labels(folder(tmp_path, ROWS.replace(",", "\t"), "labels.tsv")) == LABELS


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_inside_an_archive_with_a_folder_around_it(tmp_path: Path, write: object) -> None:
    files = {**PHOTOS, "labels.csv": ROWS.encode()}
    inside = {f"set/{name}": data for name, data in files.items()}
    suffix = "zip" if write is write_zip else "tar.xz"
    source = find_source(write(tmp_path / f"x.{suffix}", inside))  # type: ignore[operator]
    assert source.layout.name == "table"
    assert {item.name.removeprefix("set/"): item.class_name for item in source.layout.items} == (
        LABELS
    )


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("path,label\n", "column label"),
        ("image,Breed\n", "column Breed"),
        (",image,Breed\n", "column Breed"),
        ("", "column 2"),
    ],
)
def test_the_column_of_the_labels_is_told(tmp_path: Path, header: str, words: str) -> None:
    rows = "".join(f"0,{row}\n" for row in ROWS.split()) if header.startswith(",") else ROWS
    notes = find_source(folder(tmp_path, header + rows)).layout.notes
    assert f"labels from labels.csv, {words}" in notes


@pytest.mark.parametrize("given", ["", "labels.csv"])
def test_of_several_columns_none_is_guessed(tmp_path: Path, given: str) -> None:
    text = "Width,filename,breed\n" + "".join(f"{n},{r}\n" for n, r in enumerate(ROWS.split()))
    path = folder(tmp_path, text) / given
    with pytest.raises(DataError) as caught:
        find_source(path)
    assert "labels.csv has no column called label, and several others: Width, breed" in (
        caught.value.what
    )
    if given:
        assert "write `label` above" in caught.value.remedy


def test_tables_of_several_splits_have_labels_in_columns_of_known_names(tmp_path: Path) -> None:
    rows = ROWS.splitlines(keepends=True)
    path = folder(tmp_path, "path,label\n" + "".join(rows[:3]), "train.csv")
    write_folder(path, {"test.csv": b"path,width\n" + rows[3].replace("dog", "640").encode()})
    with pytest.raises(DataError, match=r"test\.csv has no column called label, as another"):
        find_source(path)


def test_a_link_to_a_table_is_the_table(tmp_path: Path) -> None:
    files = {f"images/{'ab'[n % 2]}/{n}.png": photo(n) for n in range(4)}
    path = write_folder(tmp_path / "x", files)
    text = "".join(f"{name},{'dog' if n < 2 else 'cat'}\n" for n, name in enumerate(files))
    (tmp_path / "v2.csv").write_text(text)
    (path / "labels.csv").symlink_to(tmp_path / "v2.csv")
    assert find_source(path / "labels.csv").layout.classes == ("cat", "dog")
    recipe = parse_recipe({"data": {"path": str(path / "labels.csv")}}, name="x")
    before = fingerprint(recipe)
    (tmp_path / "v2.csv").write_text(text.replace("dog", "wolf"))
    assert fingerprint(recipe) != before
    (path / "labels.csv").rename(path / ".labels.csv")
    with pytest.raises(DataError, match="hidden"):
        find_source(path / ".labels.csv")


def test_the_table_itself_is_the_path(tmp_path: Path) -> None:
    path = folder(tmp_path, ROWS)
    write_folder(path, {"other.csv": ROWS.replace("dog", "bird").encode()})
    assert labels(path / "labels.csv") == LABELS
    assert set(labels(path / "other.csv").values()) == {"cat", "bird"}
    with pytest.raises(DataError, match=r"several tables name photos: labels\.csv, other\.csv"):
        find_source(path)


def test_a_third_column_is_the_split(tmp_path: Path) -> None:
    text = "".join(
        f"{name},{label},{split}\n"
        for (name, label), split in zip(
            LABELS.items(), ("train", "val", "Test", "train"), strict=True
        )
    )
    layout = find_source(folder(tmp_path, text)).layout
    assert [item.split for item in layout.items] == ["train", "validation", "test", "train"]


def test_tables_named_as_splits_give_them(tmp_path: Path) -> None:
    rows = ROWS.splitlines(keepends=True)
    path = folder(tmp_path, rows[0] + rows[1] + rows[2], "train.csv")
    write_folder(path, {"test.csv": rows[3].encode()})
    layout = find_source(path).layout
    assert {item.name: item.split for item in layout.items}["images/3.png"] == "test"
    assert [item.split for item in layout.items].count("train") == 3


BARE = "filename,label\n" + ROWS.replace("images/", "")


@pytest.mark.parametrize("given", ["", "labels.csv"])
def test_rows_without_the_folder_of_the_photos(tmp_path: Path, given: str) -> None:
    path = folder(tmp_path, BARE)
    assert labels(path / given) == LABELS
    notes = find_source(path / given).layout.notes
    assert "labels.csv says no folders: its photos are found in images/" in notes


def test_the_table_of_a_split_means_the_folder_of_its_name(tmp_path: Path) -> None:
    files = {f"{s}_images/{n}.png": photo(n) for s in ("train", "test") for n in range(4)}
    path = write_folder(tmp_path, {**files, "train.csv": BARE.encode()})
    layout = find_source(path).layout
    assert [item.name for item in layout.items] == [f"train_images/{n}.png" for n in range(4)]
    assert "4 photos are not in the table and are left out" in layout.notes
    (path / "train.csv").rename(path / "labels.csv")
    with pytest.raises(DataError, match=r"0\.png may be t\w+_images/0\.png or t\w+_images/0\.png"):
        find_source(path)


@pytest.mark.parametrize("given", ["", "labels.csv"])
def test_absolute_rows_inside_the_folder(tmp_path: Path, given: str) -> None:
    path = tmp_path / "x"
    folder(tmp_path, ROWS.replace("images/", f"{path}/images/"))
    assert labels(path / given) == LABELS


@pytest.mark.parametrize("given", ["", "labels.csv"])
def test_case_and_accents_that_differ_from_the_files_names(tmp_path: Path, given: str) -> None:
    files = {f"cafe\u0301/{n}.PNG": photo(n) for n in range(4)}
    text = "path,label\n" + ROWS.replace("images", "caf\u00e9")
    path = write_folder(tmp_path, {**files, "labels.csv": text.encode()})
    layout = find_source(path / given).layout
    assert (layout.name, list(layout.items.names)) == ("table", sorted(files))
    assert "4 paths of labels.csv differ from the files' names in case or accents" in layout.notes


@pytest.mark.parametrize("given", ["", "labels.csv"])
def test_one_row_that_differs_in_case_from_its_file(tmp_path: Path, given: str) -> None:
    path = folder(tmp_path, ROWS)
    (path / "images" / "3.png").rename(path / "images" / "3.PNG")
    layout = find_source(path / given).layout
    assert (len(layout.items), layout.missing) == (4, ())
    assert "1 paths of labels.csv differ from the files' names in case or accents" in layout.notes


def test_a_submission_is_no_table_of_labels(tmp_path: Path) -> None:
    rows = ROWS.splitlines(keepends=True)
    path = folder(tmp_path, "".join(rows[:2]), "train.csv")
    write_folder(path, {"test.csv": "".join(rows[2:]).encode()})
    write_folder(path, {"sample_submission.csv": ROWS.replace("dog", "cat").encode()})
    layout = find_source(path).layout
    splits = {item.name: item.split for item in layout.items}
    assert [splits[name] for name in sorted(splits)] == ["train", "train", "test", "test"]
    assert "sample_submission.csv is left aside" in layout.notes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ROWS.replace("images", "pictures"), "names no photo that is there; its first is"),
        ("path,label\n" + ROWS.replace("cat", "gr\u00fcn"), "expected UTF-8 text"),
        ("path,label\n" + ROWS.replace("cat", "gr\u00fcn"), "save it as UTF-8"),
        (ROWS.replace(",", "|"), "has no two columns"),
    ],
)
def test_why_a_table_was_not_taken_is_said(tmp_path: Path, text: str, words: str) -> None:
    path = folder(tmp_path, text.encode("latin-1"))
    with pytest.raises(DataError, match=r"found one: images; labels\.csv") as caught:
        find_source(path)
    assert words in caught.value.what


@pytest.mark.parametrize(
    "text",
    ["name;gr\u00f6\u00dfe\na;3\n", "file,width\n0.png,12\n1.png,12\n", "0.png,1\n3.png,2\n"],
)
def test_an_unrelated_table_beside_class_folders(tmp_path: Path, text: str) -> None:
    names = ("cat/0.png", "dog/1.png", "dog/2.png", "cat/3.png")
    files = {name: photo(seed) for seed, name in enumerate(names)}
    path = write_folder(tmp_path, {**files, "notes.csv": text.encode("latin-1")})
    layout = find_source(path).layout
    assert (layout.name, layout.classes) == ("folders", ("cat", "dog"))


def test_all_tables_of_an_archive_are_looked_at_in_one_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = {f"notes/{n}.csv": b"x,y\n1,2\n" for n in range(9)}
    plain = {f"{'ab'[n % 2]}/{n}.png": photo(n) for n in range(4)}
    passes = []
    members = TarContainer._members

    def counted(self: TarContainer) -> Iterator[object]:
        passes.append(self.path)
        return members(self)

    monkeypatch.setattr(TarContainer, "_members", counted)
    find_source(write_tar(tmp_path / "plain.tar", {**plain, **tables}))
    assert len(passes) == 2  # the names, and the tables' heads
    listed = write_tar(tmp_path / "listed.tar", {**PHOTOS, "labels.csv": ROWS.encode()})
    assert find_source(listed).layout.name == "table"
    assert len(passes) == 5  # and the table itself
    find_source(listed)
    assert len(passes) == 5


def test_numbers_are_in_their_order(tmp_path: Path) -> None:
    text = "".join(f"images/{n}.png,{label}\n" for n, label in enumerate((10, 9, 100, 9)))
    assert find_source(folder(tmp_path, text)).layout.classes == ("9", "10", "100")
    long = ROWS.replace("cat", "1" * 5000).replace("dog", "2")
    assert find_source(folder(tmp_path, long)).layout.classes == ("1" * 5000, "2")


def test_a_table_that_is_too_large_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "MAX_BYTES", 20)
    with pytest.raises(DataError, match="at most 20 bytes") as caught:
        find_source(folder(tmp_path, ROWS) / "labels.csv")
    assert "leave out columns" in caught.value.remedy


def test_photos_that_no_row_names_are_told(tmp_path: Path) -> None:
    layout = find_source(folder(tmp_path, ROWS.rpartition("images")[0])).layout
    assert "1 photos are not in the table and are left out" in layout.notes


def test_a_table_of_other_things_is_no_layout(tmp_path: Path) -> None:
    path = write_folder(
        tmp_path / "x",
        {
            "cat/1.png": photo(1),
            "dog/1.png": photo(2),
            "prices.csv": b"item,price\nbread,2\n",
            "notes.csv": b'"never closed,1\n',
            "empty.csv": b"",
        },
    )
    assert find_source(path).layout.name == "folders"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ROWS + "/etc/x.png,cat\n", "line 5: '/etc/x.png' leads outside"),
        (ROWS + "../x.png,cat\n", "line 5: '../x.png' leads outside"),
        (ROWS + "images/../../x.png,cat\n", "leads outside"),
        (ROWS + "..\\x.png,cat\n", "leads outside"),
        (ROWS + "C:\\x.png,cat\n", "leads outside"),
        (ROWS + "a:1.png,cat\n", "1 listed images are not there, the first: a:1.png"),
        (ROWS + "images/1.txt,cat\n", "line 5: expected the path of a photo"),
        (ROWS + "images/0.png,\n", "line 5: expected a label"),
        (ROWS + "images/0.png\n", "line 5: expected 2 columns, received 1"),
        (ROWS + "images/0.png,dog\n", "'cat' in line 1 and 'dog' in line 5"),
        ("path,label,split\nimages/0.png,cat,later\n", "expected train, validation or test"),
        (ROWS.replace("dog", "cat"), "at least two classes, found one: cat"),
        (ROWS + '"images/0.png,cat\n', "the table cannot be read"),
        (ROWS.replace("cat", "\x1b[2J"), "class names of printable text"),
        (ROWS + "images/9.png,cat\n", "1 listed images are not there, the first: images/9.png"),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError) as caught:
        open_source(parse_recipe({"data": {"path": str(folder(tmp_path, text))}}, name="x"))
    assert words in caught.value.what
    assert len(caught.value.lines()) <= 3


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    outside = write_folder(tmp_path / "outside", {"secret.png": photo(9)})
    path = folder(tmp_path, ROWS + "link/secret.png,cat\nlink.png,dog\n")
    (path / "link").symlink_to(outside)
    (path / "link.png").symlink_to(outside / "secret.png")
    for place in (path, path / "labels.csv"):
        layout = find_source(place).layout
        assert layout.missing == ("link/secret.png", "link.png")
        assert len(layout.items) == 4


def test_each_folder_is_resolved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for each photo took longer than reading it."""
    path, asked = folder(tmp_path, ROWS) / "labels.csv", []
    resolve = Path.resolve
    monkeypatch.setattr(Path, "resolve", lambda self, *a: asked.append(self) or resolve(self, *a))
    assert len(find_source(path).layout.items) == 4
    assert asked.count(path.parent / "images") == 1
    assert not [one for one in asked if one.suffix == ".png"]


def test_asked_for_by_name_a_table_without_photos_is_an_error(tmp_path: Path) -> None:
    path = folder(tmp_path, ROWS.replace("images", "pictures"))
    with pytest.raises(DataError, match="names no photo that is there; the first is 'pictures/0"):
        find_source(path, "table")


def test_the_fingerprint_knows_the_table_and_its_photos(tmp_path: Path) -> None:
    path = folder(tmp_path, ROWS)
    recipe = parse_recipe({"data": {"path": str(path / "labels.csv")}}, name="x")
    before = fingerprint(recipe)
    write_folder(path, {"unrelated.png": photo(50)})
    assert fingerprint(recipe) == before
    write_folder(path, {"images/0.png": photo(51)})
    changed = fingerprint(recipe)
    assert changed != before
    (path / "labels.csv").write_text(ROWS.replace("dog", "wolf"))
    assert fingerprint(recipe) not in (before, changed)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("/etc/x.png", "leads outside"),
        ("a\0b.png", "leads outside"),
        ("x" * 5000 + ".png", "1 listed images are not there"),
        ("../x.png", "leads outside"),
    ],
    ids=["absolute", "zero", "long", "above"],
)
def test_a_table_given_by_its_path_finds_no_file_by_an_odd_name(
    tmp_path: Path, row: str, words: str
) -> None:
    write_folder(tmp_path, {"x.png": photo(7)})
    path = folder(tmp_path, ROWS + f"{row},cat\n") / "labels.csv"
    with pytest.raises(DataError) as caught:
        open_source(parse_recipe({"data": {"path": str(path)}}, name="x"))
    assert words in caught.value.what
