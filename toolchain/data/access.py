"""Photos of a source by name: only some of them, or any one at any time."""

from __future__ import annotations

import os
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Set
from pathlib import Path

from toolchain.columns import Index, Texts
from toolchain.data.archives import DAMAGE, TarContainer, ZipContainer, plain_name, reading
from toolchain.data.containers import Container, FolderContainer
from toolchain.data.sources.base import ContainerSource, Source
from toolchain.data.tar import Tar
from toolchain.errors import DataError
from toolchain.images.decode import MAX_BYTES, read_bounded

Fetch = Callable[[str], bytes]


def read_some(source: Source, names: Set[str]) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of these photos, in the source's own order; the others are not opened."""
    if isinstance(source, ContainerSource):
        yield from source.container.read(names)
        return
    for item, data in source.read():
        if item.name in names:
            yield item.name, data


def random_access(source: Source) -> Fetch:
    """What gives a photo's bytes by its name, in any order and from several threads.

    Raises:
      DataError: the source can only be read from front to back, or cannot be read any more.
    """
    container = source.container if isinstance(source, ContainerSource) else None
    opened = None if container is None else _opened(container, source.layout.items.names)
    if opened is None:
        where = source.layout.name if container is None else str(container.path)
        raise DataError(
            "the decoded photos exceed data.cache_gib, and this source cannot be read in any order",
            where,
            "unpack it, or raise data.cache_gib so that decoded photos are stored",
        )
    return opened


def _opened(container: Container, names: Texts) -> Fetch | None:
    if isinstance(container, FolderContainer):
        return _in_folder(container.path)
    if isinstance(container, ZipContainer):
        return _in_zip(container.path, Index(names).keys())
    if isinstance(container, TarContainer) and _is_plain(container.path):
        return _in_tar(container.path, Index(names).keys())
    return None


def _in_folder(folder: Path) -> Fetch:
    def fetch(name: str) -> bytes:
        try:
            return read_bounded(f"{folder}/{name}")
        except OSError as error:
            raise _unreadable(folder / name, error) from error

    return fetch


def _in_zip(path: Path, names: Set[str]) -> Fetch:
    lock = threading.Lock()
    with reading(path):
        archive = zipfile.ZipFile(path)
    members = {plain_name(info.filename): info for info in archive.infolist()}
    members = {name: info for name, info in members.items() if name in names}

    def fetch(name: str) -> bytes:
        try:
            # One handle serves all threads, and inflating is the small part of the work.
            with lock, archive.open(members[name]) as file:
                return file.read(MAX_BYTES + 1)
        except DAMAGE as error:
            raise _unreadable(path, error) from error

    return fetch


def _is_plain(path: Path) -> bool:
    """Whether a tar is not compressed, whatever its name says."""
    try:
        with Tar.open(path, "r:"):
            return True
    except (tarfile.TarError, OSError):
        return False


def _in_tar(path: Path, names: Set[str]) -> Fetch:
    places = {}
    with reading(path), Tar.open(path, "r:") as archive:
        for member in archive.forward():
            name = plain_name(member.name)
            if member.isreg() and name in names:
                places[name] = member.offset_data, min(member.size, MAX_BYTES + 1)
    descriptor = os.open(path, os.O_RDONLY)

    def fetch(name: str) -> bytes:
        offset, size = places[name]
        try:
            return os.pread(descriptor, size, offset)
        except OSError as error:
            raise _unreadable(path, error) from error

    return fetch


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"a photo cannot be read any more: {error}", str(path), "run: make train")
