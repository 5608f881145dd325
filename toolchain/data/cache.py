"""Photos decoded once: a cache shared by all recipes that see the same photos in one frame.

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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import PIL
from numpy.typing import NDArray

from toolchain.columns import Index, Texts
from toolchain.data.access import read_some
from toolchain.data.journal import Journal, Row, Rows, read_journal
from toolchain.data.parallel import in_threads, threads
from toolchain.data.sources.base import Source
from toolchain.errors import DataError, ImageError, MachineError
from toolchain.files import check_room, sha256_json, writing
from toolchain.images.decode import DECODER, Unreadable, held_rgb, picture_sha256
from toolchain.images.preprocess import Frame, resize
from toolchain.images.stored import StoredPixels, write_header
from toolchain.terminal import say, track
from toolchain.values import PIXELS_FILE

_JOURNAL: Final = "journal.txt"
_CHECKED_AT_ONCE: Final = 64
_DECODE_LATER: Final = "set data.cache_gib lower to decode while training"

# Takes (position, uint8 [size, size, 3]); called in several threads.
Store = Callable[[int, NDArray[np.uint8]], None]


def stored_bytes(count: int, size: int) -> int:
    """What so many decoded photos take."""
    return count * size * size * 3


def cached(source: Source, fingerprint: str, frame: Frame, folder: Path, out: Path | None) -> Rows:
    """Decode every photo of the source, or find that it was done.

    Args:
      source: the photos.
      fingerprint: changes when they do.
      frame: what is kept of them and how large it becomes.
      folder: holds the caches.
      out: gets the pixels, one row a photo; None keeps only hashes and reasons.

    Returns:
      One row of each photo, at its position among the source's items.

    Raises:
      DataError: the source cannot be read, or lacks a photo that it listed.
      MachineError: there is no room, or the cache was deleted in the meantime.
    """
    names, store = source.layout.items.names, out is not None
    build = _Build(folder, _key(names, fingerprint, frame, store), len(names), frame, store)
    with writing(folder), _not_deleted(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _held(folder / f"{build.key}.lock"):
            rows = build.complete(source, names) or build.go_on(source, names)
            if out is not None:
                _share(build.final / PIXELS_FILE, out)
            return rows


def _key(names: Texts, fingerprint: str, frame: Frame, store: bool) -> str:
    """Same key, same bytes: photos, frame, and the decoder with the library below it."""
    digest = hashlib.sha256()
    for place, name in enumerate(names):
        digest.update((f"\n{name}" if place else name).encode(errors="replace"))
    parts = [fingerprint, digest.hexdigest(), frame.size, frame.crop, DECODER, PIL.__version__]
    return sha256_json(parts)[:32] + ("" if store else "-hashes")


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another process that decodes the same photos")
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            # Some network file systems have no locks. Who is alone needs none.
            why = f"the cache cannot be locked ({error.strerror})"
            say(f"{why}: start no second run on these photos before this one has decoded them")
        yield


@contextlib.contextmanager
def _not_deleted(folder: Path) -> Iterator[None]:
    """Says so when the cache's files are gone; of those that the source reads, others tell."""
    try:
        yield
    except FileNotFoundError as error:
        if not str(error.filename).startswith(f"{folder}/"):
            raise
        raise MachineError(
            "the cache of decoded photos was deleted while it was in use",
            str(folder),
            "run it again",
        ) from error


class _Build:
    """One cache: what is there of it, and making the rest."""

    def __init__(self, folder: Path, key: str, count: int, frame: Frame, store: bool) -> None:
        self.final = folder / key
        self.partial = folder / f"{key}.partial"
        self.key, self.count, self.frame, self.store = key, count, frame, store
        self.size = frame.size

    def complete(self, source: Source, names: Texts) -> Rows | None:
        """The rows of what was built before and still is so; otherwise it is put away."""
        if not self.final.exists():
            return None
        rows = self._sound(self.final)
        if not rows.known.all():
            say("the decoded photos were changed since they were stored; decoding them again")
        elif _readable_now(source, names, rows):
            say("photos that could not be read can be now; decoding them again")
        else:
            return rows
        # Never mended in place: a run may share the file (see `_share`).
        shutil.rmtree(self.final)
        return None

    def go_on(self, source: Source, names: Texts) -> Rows:
        """Decode what is missing and give the folder its final name."""
        rows = self._sound(self.partial)
        rows.known[rows.unreadable()] = False
        if done := int(rows.known.sum()):
            say(f"going on after {done:,} of {self.count:,} photos that were decoded before")
        else:
            shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir(parents=True)  # all of it may have been deleted since
        places = Index(names, rows.missing())
        for row in track(self._decode(source, places), "decoding", len(places)):
            rows.put(row)
        left = rows.missing()
        if len(left):
            raise DataError(
                f"expected {self.count:,} photos, {len(left):,} were gone when they were read",
                names[int(left[0])],
                "run it again when nothing changes the photos",
            )
        self.partial.rename(self.final)
        return rows

    def _decode(self, source: Source, places: Index) -> Iterator[Row]:
        photos = read_some(source, places.keys())
        with self._writer() as (descriptor, store), _journal(self.partial, descriptor) as journal:

            def work(name: str, data: bytes) -> Row:
                return _decode_one(places[name], name, data, self.frame, store)

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
            needed = stored_bytes(self.count, self.size)
            check_room(path, needed, "the decoded photos take", _DECODE_LATER)
            write_header(path, self.count, self.size)
        start = path.stat().st_size - self.count * row
        descriptor = os.open(path, os.O_WRONLY)

        def store(position: int, pixels: NDArray[np.uint8]) -> None:
            _write_all(descriptor, pixels, start + position * row)

        try:
            yield descriptor, store
        finally:
            os.close(descriptor)

    def _sound(self, folder: Path) -> Rows:
        """The rows of the journal whose pixels are what it says."""
        rows = read_journal(folder / _JOURNAL, self.count)
        if not self.store or not rows.known.any():
            return rows
        try:
            pixels = StoredPixels(folder / PIXELS_FILE)
        except (OSError, ValueError):
            return Rows(self.count)
        if pixels.shape != (self.count, self.size, self.size, 3):
            return Rows(self.count)
        _forget_others(rows, pixels)
        return rows


def _decode_one(position: int, name: str, data: bytes, frame: Frame, store: Store) -> Row:
    try:
        pixels, picture = _resized(name, data, frame)
    except ImageError as error:
        return Row(position, reason=error.what)
    store(position, pixels)
    return Row(position, hashlib.sha256(pixels.data).hexdigest(), picture)


def _resized(name: str, data: bytes, frame: Frame) -> tuple[NDArray[np.uint8], str]:
    """A photo as it is stored, and the hash of the whole picture; large ones in their turn."""
    with held_rgb(data, name) as image:
        return np.ascontiguousarray(resize(image, frame)), picture_sha256(image)


def _readable_now(source: Source, names: Texts, rows: Rows) -> bool:
    """Whether a file that could not be read can be: a right was given, or a disk is back."""
    places = rows.unreadable()
    if not len(places):
        return False
    read = read_some(source, Index(names, places).keys())
    return any(not isinstance(data, Unreadable) for _, data in read)


def _forget_others(rows: Rows, pixels: StoredPixels) -> None:
    """Forget the rows whose pixels have another hash."""
    places = rows.good()
    groups = [places[at : at + _CHECKED_AT_ONCE] for at in range(0, len(places), _CHECKED_AT_ONCE)]

    def changed(group: NDArray[np.int64]) -> NDArray[np.int64]:
        found = b"".join(hashlib.sha256(photo.data).digest() for photo in pixels[group])
        hashes = np.frombuffer(found, np.uint8).reshape(len(group), -1)
        others: NDArray[np.int64] = group[(hashes != rows.sha256[group]).any(axis=1)]
        return others

    with ThreadPoolExecutor(max_workers=threads()) as pool:
        for others in track(pool.map(changed, groups), "checking decoded photos", len(groups)):
            rows.known[others] = False


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


def _share(pixels: Path, folder: Path) -> None:
    """Give the cache's file to `folder` too: another name of the same bytes, or else a copy.

    The run stays whole when the cache is deleted, and two recipes need the room once.
    """
    target = folder / PIXELS_FILE
    with writing(folder):
        try:
            os.link(pixels, target)
        except OSError:
            shutil.copyfile(pixels, target)
