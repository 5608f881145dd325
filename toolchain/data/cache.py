"""Photos decoded once: a cache shared by all recipes that want the same photos at the same size.

    <cache>/<key>/pixels.npy      uint8 [count, size, size, 3], one row a photo, zeros where none
    <cache>/<key>/journal.txt     the hash of every row, or why there is none (see journal.py)
    <cache>/<key>.partial/        the same while it is built; a killed build goes on from there
    <cache>/<key>.lock            held while a process builds or checks it

A folder without `.partial` is complete: it got its name by a rename after its last row. Rows are
held to their hashes whenever a cache is opened, so that neither a power cut nor a disk that forgets
can give a network other pixels than the decoder gave; therefore nothing waits for the disk here.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import PIL
from numpy.typing import NDArray

from toolchain.data.access import read_some
from toolchain.data.journal import Journal, Row, read_journal
from toolchain.data.parallel import in_threads, threads
from toolchain.data.sources.base import Source
from toolchain.errors import DataError, ImageError, MachineError
from toolchain.images.decode import DECODER, open_rgb, picture_sha256
from toolchain.images.preprocess import resize
from toolchain.images.stored import StoredPixels, write_header
from toolchain.run import sha256_json, writing
from toolchain.terminal import say, track
from toolchain.values import PIXELS_FILE

_JOURNAL: Final = "journal.txt"
_CHECKED_AT_ONCE: Final = 64

# Takes (position, uint8 [size, size, 3]); called in several threads.
Store = Callable[[int, NDArray[np.uint8]], None]


@dataclass(frozen=True, slots=True)
class Cached:
    """Every photo of a source after decoding.

    Attributes:
      rows: one a photo, in the order of the source's items.
      pixels: the .npy with one row a photo; None when only hashes were wanted.
    """

    rows: tuple[Row, ...]
    pixels: Path | None


def stored_bytes(count: int, size: int) -> int:
    """What so many decoded photos take."""
    return count * size * size * 3


def cached(source: Source, fingerprint: str, size: int, folder: Path, *, store: bool) -> Cached:
    """Decode every photo of the source, or find that it was done.

    Args:
      source: the photos.
      fingerprint: changes when they do.
      size: width and height to give them.
      folder: holds the caches.
      store: keep the pixels; without, only hashes and reasons are kept.

    Raises:
      DataError: the source cannot be read, or lacks a photo that it listed.
      MachineError: there is no room.
    """
    names = [item.name for item in source.layout.items]
    build = _Build(folder, _key(names, fingerprint, size, store), len(names), size, store)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _held(folder / f"{build.key}.lock"):
            if not build.is_complete():
                build.go_on(source, names)
            return build.result()


def _key(names: list[str], fingerprint: str, size: int, store: bool) -> str:
    """Same key, same bytes: photos, size, and the decoder with the library below it."""
    digest = hashlib.sha256("\n".join(names).encode(errors="replace")).hexdigest()
    parts = [fingerprint, digest, size, DECODER, PIL.__version__]
    return sha256_json(parts)[:32] + ("" if store else "-hashes")


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("waiting for another process that decodes the same photos")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


class _Build:
    """One cache: what is there of it, and making the rest."""

    def __init__(self, folder: Path, key: str, count: int, size: int, store: bool) -> None:
        self.final = folder / key
        self.partial = folder / f"{key}.partial"
        self.key, self.count, self.size, self.store = key, count, size, store

    def is_complete(self) -> bool:
        """Whether it was built before and still is what was built; if not, it is put away."""
        if not self.final.exists():
            return False
        if len(self._sound(self.final)) == self.count:
            return True
        say("the decoded photos were changed since they were stored; decoding them again")
        # Never mended in place: a run may share the file (see `share`).
        shutil.rmtree(self.final)
        return False

    def result(self) -> Cached:
        """The complete cache."""
        rows = read_journal(self.final / _JOURNAL, self.count)
        pixels = self.final / PIXELS_FILE if self.store else None
        return Cached(tuple(rows[position] for position in range(self.count)), pixels)

    def go_on(self, source: Source, names: list[str]) -> None:
        """Decode what is missing and give the folder its final name."""
        done = self._sound(self.partial)
        if done:
            say(f"going on after {len(done):,} of {self.count:,} photos that were decoded before")
        else:
            shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir()
        left = {name: place for place, name in enumerate(names) if place not in done}
        for row in track(self._decode(source, left), "decoding", len(left)):
            left.pop(names[row.position])
        if left:
            raise DataError(
                f"expected {self.count:,} photos, {len(left):,} were gone when they were read",
                next(iter(left)),
                "run it again when nothing changes the photos",
            )
        self.partial.rename(self.final)

    def _decode(self, source: Source, left: Mapping[str, int]) -> Iterator[Row]:
        places = dict(left)
        photos = ((name, data) for name, data in read_some(source, places.keys()))
        with self._writer() as (descriptor, store), _journal(self.partial, descriptor) as journal:

            def work(name: str, data: bytes) -> Row:
                return _decode_one(places[name], name, data, self.size, store)

            for row in in_threads(photos, work):
                journal.append(row)
                yield row

    @contextlib.contextmanager
    def _writer(self) -> Iterator[tuple[int | None, Store]]:
        """Something that puts a photo into its row, safe in many threads; and its descriptor."""
        if not self.store:
            yield None, lambda position, pixels: None
            return
        path, row = self.partial / PIXELS_FILE, stored_bytes(1, self.size)
        if not path.exists():
            _check_room(path, stored_bytes(self.count, self.size))
            write_header(path, self.count, self.size)
        start = path.stat().st_size - self.count * row
        descriptor = os.open(path, os.O_WRONLY)

        def store(position: int, pixels: NDArray[np.uint8]) -> None:
            _write_all(descriptor, pixels, start + position * row)

        try:
            yield descriptor, store
        finally:
            os.close(descriptor)

    def _sound(self, folder: Path) -> dict[int, Row]:
        """The rows of the journal whose pixels are what it says."""
        rows = read_journal(folder / _JOURNAL, self.count)
        if not self.store or not rows:
            return rows
        try:
            pixels = StoredPixels(folder / PIXELS_FILE)
        except (OSError, ValueError):
            return {}
        if pixels.shape != (self.count, self.size, self.size, 3):
            return {}
        return _with_their_hash(rows, pixels)


def _decode_one(position: int, name: str, data: bytes, size: int, store: Store) -> Row:
    try:
        image = open_rgb(data, name)
        pixels = np.ascontiguousarray(resize(image, size))
    except ImageError as error:
        return Row(position, reason=error.what)
    store(position, pixels)
    return Row(position, hashlib.sha256(pixels.data).hexdigest(), picture_sha256(image))


def _with_their_hash(rows: dict[int, Row], pixels: StoredPixels) -> dict[int, Row]:
    kept = {place: row for place, row in rows.items() if row.reason}
    places = sorted(rows.keys() - kept.keys())
    groups = [places[at : at + _CHECKED_AT_ONCE] for at in range(0, len(places), _CHECKED_AT_ONCE)]

    def check(group: list[int]) -> list[int]:
        photos = pixels[np.asarray(group)]
        hashes = (hashlib.sha256(photo.data).hexdigest() for photo in photos)
        return [at for at, sha in zip(group, hashes, strict=True) if sha == rows[at].sha256]

    with ThreadPoolExecutor(max_workers=threads()) as pool:
        for sound in track(pool.map(check, groups), "checking decoded photos", len(groups)):
            kept.update((place, rows[place]) for place in sound)
    return kept


@contextlib.contextmanager
def _journal(folder: Path, pixels: int | None) -> Iterator[Journal]:
    journal = Journal(folder / _JOURNAL, pixels)
    try:
        yield journal
    finally:
        journal.close()


def _write_all(descriptor: int, pixels: NDArray[np.uint8], offset: int) -> None:
    left = pixels.data.cast("B")
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written


def _check_room(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise MachineError(
            f"the decoded photos take {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free",
            str(path.parent),
            "free some space, or set data.cache_gib lower to decode while training",
        )


def share(pixels: Path, folder: Path) -> None:
    """Give the cache's file to `folder` too: another name of the same bytes, or else a copy.

    The run stays whole when the cache is deleted, and two recipes need the room once.
    """
    target = folder / PIXELS_FILE
    try:
        os.link(pixels, target)
    except OSError:
        shutil.copyfile(pixels, target)
