"""photos.csv: a line a photo, whatever its name, and nothing read back that is no such table."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.errors import ModelError
from toolchain.photos import PHOTOS_FILE, Photos, read_photos, write_photos
from toolchain.values import SPLITS

CLASSES = ("cat", 'a "quoted", class')
NAMES = ("cat/1.jpg", "a,b\n.png", "\udcff\udcfe.png", "ü", "=1+1", '"', "")
SHA = tuple(f"{number:064x}" for number in range(len(NAMES)))
LABELS = (0, 1, 0, 1, 1, 0, 0)
WHICH = ("train", "test", "train", "validation", "test", "train", "train")


@pytest.mark.parametrize("rows", [(), (6, 5, 4, 3, 2, 1, 0)])
def test_any_name_comes_back(rows: tuple[int, ...], tmp_path: Path) -> None:
    photos = Photos(NAMES, LABELS, WHICH, SHA, rows)
    write_photos(photos, CLASSES, tmp_path)
    assert read_photos(CLASSES, SPLITS, tmp_path) == photos


HEADER = "name,class,split,sha256,row"
GOOD = f"a.jpg,cat,train,{SHA[1]},0"


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD,
        f"{HEADER}\n{GOOD},more",
        f"{HEADER}\na.jpg,cat",
        f"{HEADER}\n{GOOD.replace('cat', 'cow')}",
        f"{HEADER}\n{GOOD.replace('train', 'all')}",
        f"{HEADER}\n{GOOD[:-4]},0",
        f"{HEADER}\n{GOOD.replace('1,0', 'x,0')}",
        f"{HEADER}\n{GOOD[:-1]}first",
        f"{HEADER}\n{GOOD[:-1]}{10**30}",
        f'{HEADER}\n"{GOOD}',
    ],
)
def test_what_is_no_such_table_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / PHOTOS_FILE).write_text(text)
    with pytest.raises(ModelError, match="cannot be read") as caught:
        read_photos(CLASSES, SPLITS, tmp_path)
    assert caught.value.remedy == "run: make train"
