"""Photos are decoded once: shared between recipes, gone on with after a stop, never half there."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import io
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from photo_files import class_folders, forbid, photo, write_folder, write_tar, write_zip
from PIL import Image

from toolchain.data import cache as cache_module
from toolchain.data import parallel
from toolchain.data import stream as stream_module
from toolchain.data.access import random_access
from toolchain.data.audit import audit
from toolchain.data.containers import LISTS, open_container
from toolchain.data.source import fingerprint, open_source
from toolchain.data.sources import places365
from toolchain.data.stage import build_dataset, open_dataset
from toolchain.errors import DataError, MachineError
from toolchain.images import decode, in_flight
from toolchain.images.decode import held_rgb
from toolchain.images.preprocess import Frame, pixels_of
from toolchain.recipe import parse_recipe
from toolchain.values import Dataset

SIZE = 32
EACH = 40


@pytest.fixture
def files() -> dict[str, bytes]:
    return class_folders(each=EACH) | {"cat/jpeg.jpg": photo(991, (50, 30), "JPEG")}


@pytest.fixture
def photos(tmp_path: Path, files: dict[str, bytes]) -> Path:
    return write_folder(tmp_path / "photos", files)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the photos that were decoded, in the order in which they were."""
    names: list[str] = []

    def counted(data: bytes, name: str):
        names.append(name)
        return held_rgb(data, name)

    monkeypatch.setattr(cache_module, "held_rgb", counted)
    return names


def recipe_of(path: Path, size: int = SIZE, name: str = "photos", **data: object):
    table = {"data": {"path": str(path), "validation": 0.2, "test": 0.2, **data}}
    return parse_recipe(table | {"input": {"size": size}}, name=name)


def build(recipe, tmp_path: Path, name: str = "out") -> Dataset:
    out = tmp_path / name
    out.mkdir()
    return build_dataset(recipe, out, tmp_path / "cache")


def bitmaps(first: int) -> dict[str, bytes]:
    """Photos whose files are equally long."""
    names = (f"{name}/{number}.bmp" for name in ("cat", "dog") for number in range(12))
    return {name: photo(first + seed, kind="BMP") for seed, name in enumerate(names)}


def container_of(kind: str, folder: Path, files: dict[str, bytes]) -> Path:
    """What `data.path` is then: a folder, a table beside it or an archive of one size."""
    folder.mkdir(exist_ok=True)
    if kind == "zip":
        return stored_zip(folder / "photos.zip", files)
    write_folder(folder / "photos", files)
    if kind == "folder":
        return folder / "photos"
    table = folder / "photos" / "labels.csv"
    table.write_text("".join(f"{name},{name[:3]}\n" for name in files))
    return table


def stored_zip(path: Path, files: dict[str, bytes]) -> Path:
    """Not compressed, so that its size tells nothing."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def same(left: Dataset, right: Dataset) -> bool:
    return dataclasses.replace(left, folder=right.folder) == right and np.array_equal(
        left.pixels(), right.pixels()
    )


class TestSharing:
    def test_a_second_recipe_at_the_same_size_decodes_nothing(self, photos, tmp_path, decoded):
        first = build(recipe_of(photos), tmp_path, "one")
        assert len(decoded) == len(first.names)
        second = build(recipe_of(photos, name="other", seed=7), tmp_path, "two")
        assert len(decoded) == len(first.names)
        assert np.array_equal(first.pixels(), second.pixels())
        assert first.splits != second.splits

    def test_the_room_is_taken_once(self, photos, tmp_path):
        folders = [build(recipe_of(photos), tmp_path, name).folder for name in ("one", "two")]
        assert len({(folder / "pixels.npy").stat().st_ino for folder in folders}) == 1

    def test_a_run_outlives_the_cache(self, photos, tmp_path):
        dataset = build(recipe_of(photos), tmp_path)
        before = dataset.pixels()[:]
        shutil.rmtree(tmp_path / "cache")
        assert np.array_equal(Dataset.load(dataset.folder).pixels(), before)

    def test_where_files_cannot_be_linked_they_are_copied(self, photos, tmp_path, monkeypatch):
        def refuse(*_: object) -> None:
            raise OSError("no links here")

        linked = build(recipe_of(photos), tmp_path, "one")
        monkeypatch.setattr(os, "link", refuse)
        copied = build(recipe_of(photos), tmp_path, "two")
        assert same(linked, copied)

    @pytest.mark.parametrize("change", ["size", "photo added", "photo rewritten", "decoder"])
    def test_other_pixels_are_another_cache(self, change, photos, tmp_path, decoded, monkeypatch):
        recipe = recipe_of(photos)
        build(recipe, tmp_path, "one")
        before = len(decoded)
        if change == "size":
            recipe = recipe_of(photos, size=SIZE + 1)
        elif change == "photo added":
            (photos / "cat" / "new.png").write_bytes(photo(5000))
        elif change == "photo rewritten":
            (photos / "cat" / "0.png").write_bytes(photo(5000, (13, 10)))
        else:
            monkeypatch.setattr(cache_module, "DECODER", cache_module.DECODER + 1)
        dataset = build(recipe, tmp_path, "two")
        assert len(decoded) == before + len(dataset.names)

    @pytest.mark.parametrize("kind", ["folder", "table", "zip"])
    def test_other_photos_of_the_same_names_sizes_and_times_are_others(self, kind, tmp_path):
        """Two folders made by one program, and one rewritten in place by `cp -p` or `rsync -t`."""
        found = []
        for place, first in (("one", 0), ("two", 500), ("two", 900)):
            path = container_of(kind, tmp_path / place, bitmaps(first))
            for file in (path, *path.parent.rglob("*.bmp")):
                os.utime(file, (315532800, 315532800))
            recipe = recipe_of(path)
            found.append((fingerprint(recipe), build(recipe, tmp_path, f"out{first}").pixels()[:]))
        prints, pixels = zip(*found, strict=True)
        assert len(set(prints)) == 3
        assert not np.array_equal(pixels[0], pixels[1])
        assert not np.array_equal(pixels[1], pixels[2])

    def test_what_lies_beside_the_photos_changes_nothing(self, photos, tmp_path, decoded):
        recipe = recipe_of(photos)
        build(recipe, tmp_path, "one")
        before, print_before = len(decoded), fingerprint(recipe)
        for name in ("notes.txt", "cat/check.html", ".DS_Store", "dog/.thumbs/0.png"):
            (photos / name).parent.mkdir(exist_ok=True)
            (photos / name).write_bytes(b"x")
        assert fingerprint(recipe) == print_before
        (photos / "prices.csv").write_text("a,b\n1,2\n")  # a table could have named the photos
        assert fingerprint(recipe) != print_before
        build(recipe, tmp_path, "two")
        assert len(decoded) == before

    def test_lists_that_a_source_reads_count(self, photos):
        assert {places365.IMAGES, places365.CATEGORIES} == LISTS
        before = open_container(photos).fingerprint()
        (photos / places365.IMAGES).write_text("0.png 1\n")
        assert open_container(photos).fingerprint() != before

    def test_lists_of_exclusions_share_too(self, photos, tmp_path, decoded):
        (photos / "cat" / "bad.jpg").write_bytes(b"I am no photo")
        (photos / "dog" / "bad.jpg").write_bytes(b"nor am I")
        build(recipe_of(photos, on_bad_image="skip"), tmp_path, "all")
        before, listed = len(decoded), tmp_path / "exclude.txt"
        for gone in (["cat/bad.jpg", "cat/0.png"], ["dog/39.png", "cat/3.png"]):
            listed.write_text("".join(f"{name}\n" for name in gone))
            recipe = recipe_of(photos, on_bad_image="skip", exclude=str(listed))
            dataset = build(recipe, tmp_path, gone[0].replace("/", "-"))
            assert {(name, "excluded") for name in gone} <= set(dataset.skipped)
            assert len(dataset.names) == 2 * EACH + 1 - len(set(gone) - {"cat/bad.jpg"})
            for row, name in enumerate(dataset.names):
                expected = pixels_of((photos / name).read_bytes(), name, Frame(SIZE))
                assert np.array_equal(dataset.pixels()[row], expected)
            assert Dataset.load(dataset.folder) == dataset
        assert len(decoded) == before

    def test_excluded_photos_are_not_stored_where_all_are_too_many(self, photos, tmp_path, decoded):
        listed = tmp_path / "exclude.txt"
        listed.write_text("cat/0.png\n")
        gib = 2 * EACH * SIZE * SIZE * 3 / 2**30
        dataset = build(recipe_of(photos, exclude=str(listed), cache_gib=gib), tmp_path)
        assert not dataset.streamed
        assert "cat/0.png" not in decoded

    def test_recipes_that_differ_in_bad_images_share_too(self, photos, tmp_path, decoded):
        (photos / "cat" / "bad.jpg").write_bytes(b"I am no photo")
        with pytest.raises(DataError, match="cannot be decoded"):
            build(recipe_of(photos), tmp_path, "one")
        before = len(decoded)
        dataset = build(recipe_of(photos, on_bad_image="skip"), tmp_path, "two")
        assert len(decoded) == before
        assert [name for name, _ in dataset.skipped] == ["cat/bad.jpg"]
        for row, name in enumerate(dataset.names):
            expected = pixels_of((photos / name).read_bytes(), name, Frame(SIZE))
            assert np.array_equal(dataset.pixels()[row], expected)


class TestPhotosThatCannotBeRead:
    @pytest.mark.parametrize("again", [False, True])
    def test_they_are_left_out_and_tried_again(self, again, photos, tmp_path, decoded, monkeypatch):
        """Where a right was given without a trace on the photo, as on a share of a network."""
        recipe = recipe_of(photos, on_bad_image="skip")
        with monkeypatch.context() as patch:
            forbid(patch, "dog/7.png")
            dataset = build(recipe, tmp_path, "one")
            assert dataset.skipped == (
                ("dog/7.png", "the image cannot be read: Permission denied"),
            )
            with pytest.raises(DataError, match="cannot be read: Permission denied") as caught:
                build(recipe_of(photos), tmp_path, "strict")
            assert caught.value.where == "dog/7.png"
            before = len(decoded)
            if again:
                build(recipe, tmp_path, "again")
                assert len(decoded) == before
        assert build(recipe, tmp_path, "two").skipped == ()
        assert len(decoded) == 2 * before

    def test_a_zip_with_a_bad_photo_is_built_without_it(self, files, tmp_path):
        path = stored_zip(tmp_path / "photos.zip", files)
        data = bytearray(path.read_bytes())
        data[data.find(files["dog/3.png"]) + 200] ^= 0xFF
        path.write_bytes(data)
        dataset = build(recipe_of(path, on_bad_image="skip"), tmp_path)
        assert [name for name, _ in dataset.skipped] == ["dog/3.png"]
        assert "Bad CRC-32" in dataset.skipped[0][1]
        assert len(dataset.names) == len(files) - 1


class Stop(Exception):
    """Stands for a kill: raised in the middle of the work."""


class TestGoingOn:
    def stop_after(self, count: int, monkeypatch: pytest.MonkeyPatch, decoded: list[str]) -> None:
        counting = cache_module.held_rgb

        def stopping(data: bytes, name: str):
            if len(decoded) >= count:
                raise Stop
            return counting(data, name)

        # One thread works on the groups in their order: the first ones end before the stop.
        monkeypatch.setattr(parallel, "threads", lambda: 1)
        monkeypatch.setattr(cache_module, "held_rgb", stopping)

    @pytest.mark.parametrize("source", ["folder", "zip", "tar", "tar.xz"])
    def test_what_was_decoded_is_not_decoded_again(
        self, source, files, tmp_path, decoded, monkeypatch
    ):
        path = tmp_path / f"photos.{source}"
        {"folder": write_folder, "zip": write_zip}.get(source, write_tar)(path, files)
        unbroken = build_dataset(recipe_of(path), make(tmp_path / "whole"))
        decoded.clear()
        with monkeypatch.context() as patch:
            self.stop_after(50, patch, decoded)
            with pytest.raises(Stop):
                build(recipe_of(path), tmp_path, "stopped")
        assert not [p for p in (tmp_path / "cache").iterdir() if len(p.name) == 32]
        kept = sum(1 for _ in next((tmp_path / "cache").glob("*.partial/journal.txt")).open())
        assert kept > 0
        decoded.clear()
        assert same(build(recipe_of(path), tmp_path, "again"), unbroken)
        assert len(decoded) == len(files) - kept

    @pytest.mark.parametrize("damage", ["torn line", "noise", "flipped pixels", "short pixels"])
    def test_only_what_is_sound_is_kept(self, damage, photos, tmp_path, decoded, monkeypatch):
        unbroken = build_dataset(recipe_of(photos), make(tmp_path / "whole"))
        decoded.clear()
        with monkeypatch.context() as patch:
            self.stop_after(50, patch, decoded)
            with pytest.raises(Stop):
                build(recipe_of(photos), tmp_path, "stopped")
        partial = next((tmp_path / "cache").glob("*.partial"))
        journal, pixels = partial / "journal.txt", partial / "pixels.npy"
        if damage == "torn line":
            journal.write_bytes(journal.read_bytes()[:-30])
        elif damage == "noise":
            journal.write_bytes(b"\xff\x00 nonsense\n999999 " + b"0" * 64 + b"\n-1 x\n")
        elif damage == "flipped pixels":
            data = bytearray(pixels.read_bytes())
            data[200] ^= 1
            pixels.write_bytes(data)
        else:
            os.truncate(pixels, 5000)
        assert same(build(recipe_of(photos), tmp_path, "again"), unbroken)

    def test_a_finished_cache_that_was_damaged_is_made_again(self, photos, tmp_path, decoded):
        first = build(recipe_of(photos), tmp_path, "one")
        before = first.pixels()[:]
        path = next((tmp_path / "cache").glob("*/pixels.npy"))
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        second = build(recipe_of(photos), tmp_path, "two")
        assert np.array_equal(second.pixels(), before)
        assert len(decoded) == 2 * len(first.names)

    def test_a_photo_that_vanishes_while_they_are_read_is_named(
        self, photos, tmp_path, monkeypatch
    ):
        def without_one(source, names):
            gone = sorted(names)[3]
            return ((n, d) for n, d in real(source, names) if n != gone)

        real = cache_module.read_some
        monkeypatch.setattr(cache_module, "read_some", without_one)
        with pytest.raises(DataError, match="1 were gone"):
            build(recipe_of(photos), tmp_path)
        assert not list((tmp_path / "cache").glob("?" * 32))

    def test_a_cache_that_is_deleted_while_it_is_filled_is_told(
        self, photos, tmp_path, monkeypatch
    ):
        def deleting(source, names):
            for number, pair in enumerate(real(source, names)):
                if number == 3:
                    shutil.rmtree(tmp_path / "cache")
                yield pair

        real = cache_module.read_some
        monkeypatch.setattr(cache_module, "read_some", deleting)
        with pytest.raises(MachineError, match="deleted while it was in use") as caught:
            build(recipe_of(photos), tmp_path, "one")
        assert caught.value.remedy == "run it again"
        monkeypatch.undo()
        assert len(build(recipe_of(photos), tmp_path, "two").names) == 2 * EACH + 1

    def test_a_cache_that_is_deleted_while_it_is_waited_for_is_made(
        self, photos, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(fcntl, "flock", lambda *_: shutil.rmtree(tmp_path / "cache"))
        assert len(build(recipe_of(photos), tmp_path).names) == 2 * EACH + 1

    @pytest.mark.parametrize("error", [errno.ENOLCK, errno.EOPNOTSUPP])
    def test_where_there_are_no_locks_photos_are_decoded_without(
        self, error, photos, tmp_path, monkeypatch
    ):
        def refuse(*_: object) -> None:
            raise OSError(error, os.strerror(error))

        said: list[str] = []
        monkeypatch.setattr(cache_module, "say", said.append)
        monkeypatch.setattr(fcntl, "flock", refuse)
        assert len(build(recipe_of(photos), tmp_path).names) == 2 * EACH + 1
        assert len(said) == 1
        assert f"cannot be locked ({os.strerror(error)})" in said[0]

    def test_too_little_room_is_said_before_work_is_done(
        self, photos, tmp_path, decoded, monkeypatch
    ):
        usage = shutil.disk_usage(tmp_path)._replace(free=1000)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(MachineError, match=r"MiB are free"):
            build(recipe_of(photos), tmp_path)
        assert decoded == []


class TestLargePhotos:
    """However many processors there are, memory holds one of the largest photos, not one each."""

    @pytest.mark.parametrize(("most", "at_once"), [(1_500_000, {1}), (9_000_000, {2, 3, 4})])
    @pytest.mark.parametrize("reader", ["cache", "stream", "audit"])
    def test_they_are_decoded_in_their_turn(self, reader, most, at_once, tmp_path, monkeypatch):
        names = [f"{label}/{number}.png" for label in ("cat", "dog") for number in range(5)]
        path = write_folder(tmp_path / "photos", {name: flat(name) for name in names})
        recipe = recipe_of(path, cache_gib=0 if reader == "stream" else 1, split="rank")
        dataset = build(recipe, tmp_path) if reader == "stream" else None
        monkeypatch.setattr(in_flight, "MOST", most)
        monkeypatch.setattr(parallel, "threads", lambda: 4)
        monkeypatch.setattr(stream_module, "threads", lambda: 4)
        monkeypatch.setattr(parallel, "_PHOTOS_A_TASK", 1)
        counting = Counting(decode._upright_rgb)
        monkeypatch.setattr(decode, "_upright_rgb", counting)
        if reader == "stream":
            open_dataset(dataset.folder, recipe).pixels()[:]
        elif reader == "cache":
            build(recipe, tmp_path)
        else:
            audit(recipe, near=False)
        assert counting.most in at_once

    def test_memory_does_not_stay_with_each_thread(self):
        """Of an image of 4 million pixels with alpha there are 32 MiB while it becomes RGB."""
        command = [sys.executable, "-c", FOUR_THREADS]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        start, peak = map(int, done.stdout.split())
        assert (peak - start) / 1024 < 120  # 78; with malloc alone 202

    def test_files_that_wait_are_bounded_in_bytes(self, monkeypatch):
        """Of 64 processors, 128 tasks would wait, each of one file of 64 MiB."""
        monkeypatch.setattr(parallel, "threads", lambda: 64)
        monkeypatch.setattr(parallel, "_BYTES_A_TASK", 10)
        monkeypatch.setattr(parallel, "_BYTES_WAITING", 100)
        read = 0

        def photos():
            nonlocal read
            for number in range(50):
                read += 1
                yield number, b"0123456789"

        results = parallel.in_threads(photos(), lambda number, data: number)
        assert next(results) == 0
        assert read <= 12
        assert [0, *results] == list(range(50))


FOUR_THREADS = """
import io, re
from pathlib import Path
from PIL import Image
from toolchain.data import cache, parallel
from toolchain.images import in_flight
from toolchain.images.preprocess import Frame

def kib(what):
    return re.search(rf"{what}:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]

in_flight.MOST, parallel._PHOTOS_A_TASK, parallel.threads = 4_500_000, 1, lambda: 4
file = io.BytesIO()
Image.new("RGBA", (2000, 2000), (200, 100, 50, 90)).save(file, "PNG", compress_level=1)
photos = ((number, file.getvalue()) for number in range(8))
Path("/proc/self/clear_refs").write_text("5")  # the peak so far
print(kib("VmRSS"))
for _ in parallel.in_threads(
    photos, lambda at, data: cache._decode_one(at, "x", data, Frame(48), lambda *_: None)
):
    pass
print(kib("VmHWM"))
"""


class Counting:
    """Counts in how many threads a function is at once."""

    def __init__(self, function) -> None:
        self.function, self.lock = function, threading.Lock()
        self.now = self.most = 0

    def __call__(self, *arguments):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.02)
        result = self.function(*arguments)
        with self.lock:
            self.now -= 1
        return result


def flat(name: str) -> bytes:
    """A photo of one colour with a million pixels, small as a file."""
    buffer = io.BytesIO()
    colour = (len(name), ord(name[0]), ord(name[4]))
    Image.new("RGB", (1200, 900), colour).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


class TestStreaming:
    @pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
    def test_the_stream_is_the_cache_pixel_for_pixel(self, kind, files, tmp_path):
        files["dog/bad.jpg"] = b"I am no photo"
        path = tmp_path / f"photos.{kind}"
        {"folder": write_folder, "zip": write_zip, "tar": write_tar}[kind](path, files)
        stored = build(recipe_of(path, on_bad_image="skip"), tmp_path, "stored")
        recipe = recipe_of(path, on_bad_image="skip", cache_gib=0)
        streamed = build(recipe, tmp_path, "streamed")
        assert streamed.streamed
        assert not stored.streamed
        assert not (streamed.folder / "pixels.npy").exists()
        assert streamed.splits == stored.splits
        for dataset in (streamed, open_dataset(streamed.folder, recipe)):
            pixels = dataset.pixels()
            assert pixels.shape == stored.pixels().shape
            assert np.array_equal(pixels, stored.pixels())
            order = np.random.default_rng(0).permutation(len(pixels))[:17]
            assert np.array_equal(pixels[order], stored.pixels()[order])
            assert np.array_equal(pixels[5], stored.pixels()[5])

    def test_the_limit_decides(self, photos, files, tmp_path):
        exactly = len(files) * SIZE * SIZE * 3 / 2**30
        below = build(recipe_of(photos, cache_gib=exactly * 0.99), tmp_path, "below")
        at = build(recipe_of(photos, cache_gib=exactly), tmp_path, "at")
        assert (below.streamed, at.streamed) == (True, False)
        stored = list((tmp_path / "cache").rglob("pixels.npy"))
        assert len(stored) == 1

    def test_compressed_tars_are_refused_with_a_remedy(self, files, tmp_path, decoded):
        path = write_tar(tmp_path / "photos.tar.xz", files)
        with pytest.raises(DataError, match="any order") as caught:
            build(recipe_of(path, cache_gib=0), tmp_path)
        assert "cache_gib" in caught.value.remedy
        assert decoded == []

    def test_a_photo_changed_after_the_data_stage_is_noticed(self, photos, tmp_path):
        dataset = build(recipe_of(photos, cache_gib=0), tmp_path)
        (photos / dataset.names[3]).write_bytes(photo(4242))
        with pytest.raises(DataError, match="changed") as caught:
            dataset.pixels()[2:5]
        assert caught.value.where == dataset.names[3]

    def test_a_photo_deleted_after_the_data_stage_is_named(self, photos, tmp_path):
        dataset = build(recipe_of(photos, cache_gib=0), tmp_path)
        (photos / dataset.names[3]).unlink()
        with pytest.raises(DataError, match="cannot be read any more"):
            dataset.pixels()[3]

    def test_a_photo_damaged_in_its_zip_after_the_data_stage_is_told(self, files, tmp_path):
        path = write_zip(tmp_path / "photos.zip", files)
        fetch = random_access(open_source(recipe_of(path)))
        data = bytearray(path.read_bytes())
        start = data.index(b"cat/0.png") + len("cat/0.png")
        data[start : start + 8] = b"\xff" * 8
        path.write_bytes(data)
        with pytest.raises(DataError, match="cannot be read any more"):
            fetch("cat/0.png")
        assert fetch("cat/1.png") == files["cat/1.png"]

    @pytest.mark.parametrize("kind", ["zip", "tar"])
    def test_an_archive_damaged_before_it_is_streamed_is_told(self, kind, files, tmp_path):
        path = tmp_path / f"photos.{kind}"
        {"zip": write_zip, "tar": write_tar}[kind](path, files)
        source, data = open_source(recipe_of(path)), bytearray(path.read_bytes())
        at = data.index(b"dog/3.png") if kind == "tar" else -10
        data[at:] = bytes([255]) * len(data[at:])
        path.write_bytes(data)
        with pytest.raises(DataError, match="the archive cannot be read"):
            random_access(source)

    def test_a_tar_named_like_a_compressed_one_is_judged_by_its_content(self, files, tmp_path):
        plain = write_tar(tmp_path / "a.tar", files).rename(tmp_path / "a.tar.gz")
        fetch = random_access(open_source(recipe_of(plain)))
        assert fetch("cat/jpeg.jpg") == files["cat/jpeg.jpg"]
