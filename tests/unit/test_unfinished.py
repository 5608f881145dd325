"""What a stopped stage leaves: found by the same settings, told of by others, gone in the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.errors import MachineError
from toolchain.run import Run
from toolchain.unfinished import Unfinished, code_sha256

NOW = {
    "stage": "train",
    "recipe": {"train": {"epochs": 5, "seed": 1}, "model": {"dense": [16]}},
    "upstream": {"data": "e" * 64},
}


def changed(**train: object) -> dict[str, object]:
    return NOW | {"recipe": {"train": {"epochs": 5, "seed": 1, **train}, "model": {"dense": [16]}}}


def test_the_same_settings_find_what_was_left(tmp_path: Path) -> None:
    kept = Unfinished(tmp_path / "digits", "train", NOW)
    assert not kept.path("a").exists()
    kept.write("a", b"1", "epoch 1")
    kept.write("a", b"2", "epoch 2")
    assert kept.reached == "epoch 2"
    again = Unfinished(tmp_path / "digits", "train", dict(reversed(NOW.items())))
    assert again.path("a").read_bytes() == b"2"
    assert again.differences() == []
    for other in (changed(epochs=6), NOW | {"stage": "quantize"}, NOW | {"code": "ab"}):
        assert not Unfinished(tmp_path / "digits", "train", other).path("a").exists()
    assert not Unfinished(tmp_path / "digits", "quantize", NOW).path("a").exists()


def test_other_settings_are_told_by_their_names(tmp_path: Path) -> None:
    for then, told in (
        (changed(epochs=3), ["train.epochs was 3, is 5"]),
        (
            changed(epochs=3, warmup=1.0),
            ["train.epochs was 3, is 5", "train.warmup was 1.0, is null"],
        ),
        (NOW | {"upstream": {"data": "f" * 64}}, ["what came out of stage data has changed"]),
    ):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        Unfinished(folder, "train", then).write("a", b"", "")
        assert Unfinished(folder, "train", NOW).differences() == told
        assert Unfinished(folder, "quantize", NOW).differences() == []


def test_it_never_looks_like_a_stage_and_sweeping_leaves_it(tmp_path: Path) -> None:
    run = Run(tmp_path, "digits")
    kept = Unfinished(run.folder, "train", NOW)
    kept.write("a", b"1", "")
    (kept.folder / ".a.tmp-123").write_bytes(b"half")
    with run.lock():
        assert kept.path("a").read_bytes() == b"1"
    assert run.manifest("train") is None
    assert not run.stage("train").exists()
    kept.write("a", b"2", "")
    assert not list(kept.folder.glob(".*"))


def test_other_tries_stay_until_the_stage_is_published(tmp_path: Path) -> None:
    first, second = (Unfinished(tmp_path, "train", one) for one in (NOW, changed(epochs=6)))
    quantize = Unfinished(tmp_path, "quantize", NOW)
    for kept in (first, second, quantize):
        kept.write("a", b"1", "")
    second.remove()
    assert [kept.path("a").exists() for kept in (first, second, quantize)] == [True, False, True]
    second.remove_all()
    assert [kept.path("a").exists() for kept in (first, second, quantize)] == [False, False, True]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "digits").write_text("a file")
    with pytest.raises(MachineError, match="cannot write"):
        Unfinished(tmp_path / "digits", "train", NOW).write("a", b"", "")


def test_other_code_is_another_hash() -> None:
    assert code_sha256("training") != code_sha256("training", "quantization")
    assert len(code_sha256("images")) == 64
