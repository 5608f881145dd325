"""Data sets of tensorflow-datasets, through a stand-in for the library."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from photo_files import photo

from toolchain.data.source import fingerprint, open_source
from toolchain.data.sources.tfds import open_tfds
from toolchain.errors import DataError, MachineError
from toolchain.recipe import parse_recipe

SKIP = object()


class Labels:
    """What tfds.features.ClassLabel answers."""

    names = ("cat", "dog", "unicorn")
    num_classes = 3

    def int2str(self, number: int) -> str:
        return self.names[number]


class Builder:
    """A prepared data set: two splits of ours, and one without labels."""

    def __init__(self, name: str, splits: dict[str, list[int]]) -> None:
        self.data_dir = Path(__file__).parent
        self.rows = splits
        self.info = SimpleNamespace(
            splits=dict.fromkeys(splits),
            supervised_keys=("image", "label"),
            features={"image": object(), "label": Labels()},
            full_name=f"{name}/4.0.1",
        )

    def as_dataset(self, *, split: str, shuffle_files: bool, decoders: Any) -> Any:
        assert decoders == {"image": SKIP}, "images are taken as they are stored"
        assert not shuffle_files
        for number, label in enumerate(self.rows[split]):
            yield {"image": photo(number + 100 * len(split), kind="JPEG"), "label": label}


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> dict[str, Builder]:
    known: dict[str, Builder] = {}
    module: Any = ModuleType("tensorflow_datasets")

    def builder(name: str) -> Builder:
        if name not in known:
            raise ValueError(f"Failed to construct dataset {name}\nsecond line")
        return known[name]

    module.builder = builder
    module.as_numpy = lambda data: data
    module.decode = SimpleNamespace(SkipDecoding=lambda: SKIP)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)
    return known


def test_splits_of_ours_are_kept(library: dict[str, Builder]) -> None:
    library["pets"] = Builder("pets", {"train": [0, 1, 0], "test": [1], "unsupervised": [0]})
    recipe = parse_recipe({"data": {"source": "tfds:pets"}}, name="x")
    source = open_source(recipe)
    assert (source.layout.name, source.layout.classes) == ("tfds", ("cat", "dog"))
    assert source.layout.notes == ("data set pets/4.0.1",)
    found = {item.name: (item.class_name, item.split) for item in source.layout.items}
    assert found == {
        "test/0000000": ("dog", "test"),
        "train/0000000": ("cat", "train"),
        "train/0000001": ("dog", "train"),
        "train/0000002": ("cat", "train"),
    }
    read = {item.name: data for item, data in source.read()}
    assert read["train/0000002"] == photo(502, kind="JPEG")
    assert len(read) == 4


def test_one_split_of_everything_is_split_by_us(library: dict[str, Builder]) -> None:
    library["pets"] = Builder("pets", {"train": [0, 1]})
    assert {item.split for item in open_tfds("tfds:pets").layout.items} == {None}


@pytest.mark.parametrize("known", [{}, {"train": [0, 1]}])
def test_what_is_not_prepared_is_not_downloaded(
    library: dict[str, Builder], known: dict[str, list[int]], tmp_path: Path
) -> None:
    library["pets"] = Builder("pets", known)
    library["pets"].data_dir = tmp_path / "pets" / "4.0.1"
    with pytest.raises(DataError) as caught:
        open_tfds("tfds:pets")
    assert "not prepared on this machine" in caught.value.what
    assert caught.value.remedy == "prepare it once: tfds build pets"


def test_an_unknown_name(library: dict[str, Builder]) -> None:
    with pytest.raises(DataError, match="knows no 'pest'") as caught:
        open_tfds("tfds:pest")
    assert "second line" not in caught.value.what


def test_a_data_set_without_classes(library: dict[str, Builder]) -> None:
    library["text"] = Builder("text", {"train": [0]})
    library["text"].info.supervised_keys = None
    with pytest.raises(DataError, match="one class each"):
        open_tfds("tfds:text")


def test_without_the_library_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(MachineError) as caught:
        open_tfds("tfds:mnist")
    assert caught.value.remedy == "pip install tensorflow-datasets"


def test_the_fingerprint_knows_the_name_and_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(name: str, version: str) -> str:
        monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
        return fingerprint(parse_recipe({"data": {"source": name}}, name="x"))

    monkeypatch.setenv("TFDS_DATA_DIR", str(Path(__file__).parent))
    one = of("tfds:mnist", "4.9.8")
    assert one == of("tfds:mnist", "4.9.8")
    assert len({one, of("tfds:mnist", "4.9.9"), of("tfds:cifar10", "4.9.8")}) == 3


@pytest.mark.parametrize("source", ["tfds:pets", "tfds:pets/small:1.0.0"])
def test_the_fingerprint_knows_data_that_are_prepared_anew(source, tmp_path, monkeypatch) -> None:
    """Under the same version, with as many photos: one's own data set while it is being made."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    recipe, found = parse_recipe({"data": {"source": source}}, name="x"), []
    for version in ("", "pets/1.0.0", "pets/small/1.0.0", "birds/1.0.0", "pets/1.0.0"):
        path = tmp_path / version / "dataset_info.json"
        if version:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".new").write_text("{}")
            path.with_suffix(".new").replace(path)
        found.append(fingerprint(recipe))
    assert found[2] == found[3], "another set's"
    assert len(set(found)) == 4
