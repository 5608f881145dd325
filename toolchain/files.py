"""Files written whole or not at all, what to say where that cannot be, and hashes of files."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

from toolchain.errors import InputError, MachineError

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_FIRST: Final = {
    **dict.fromkeys(_FULL, "free some space there, or "),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "allow writing there, or "),
    errno.EIO: "check the disk, or ",
}
_REFUSED: Final = (
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    # A file stands where the folder should be, links lead in a circle, or the name is too long.
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ELOOP,
    errno.ENAMETOOLONG,
)
# Where a file should be there is a folder, or no folder for it. Of a single file alone: while a
# stage works, they tell of something that it reads.
_MISPLACED: Final = (errno.ENOENT, errno.EISDIR)


@contextlib.contextmanager
def writing(where: Path, also: Collection[int] = ()) -> Iterator[None]:
    """Turns a full disk, a missing right or a broken device into an error with its remedy.

    Args:
      where: what is written.
      also: further errors of the system that mean that it cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (*_FULL, *_REFUSED, *also):
            raise
        what, first = f"cannot write: {error.strerror}", _FIRST.get(error.errno, "")
        if error.errno in _FULL:
            what += f" ({shutil.disk_usage(_there(where)).free / 2**20:.0f} MiB free)"
        remedy = f"{first}give another place; that of runs is set with --runs"
        raise MachineError(what, str(where), remedy) from error


def check_room(path: Path, needed: int, what: str, remedy: str) -> None:
    """That the disk of a file that is to be written holds so many bytes more.

    Args:
      path: the file; it and some of its folders may not exist yet.
      needed: bytes.
      what: is written, as in "features take".
      remedy: beside freeing some space.

    Raises:
      MachineError: it does not.
    """
    folder = _there(path.parent)
    free = shutil.disk_usage(folder).free
    if needed > free:
        said = f"{what} {needed / 2**20:,.0f} MiB, {free / 2**20:,.0f} MiB are free"
        raise MachineError(said, str(folder), f"free some space, or {remedy}")


def _there(path: Path) -> Path:
    """A path, or the nearest of its folders that exists."""
    return next((one for one in (path, *path.parents) if one.exists()), Path("/"))


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of a text, in UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file aside, sync it and rename it into place; of a link, where it leads.

    Raises:
      InputError: there is something that is no file, such as a device.
      MachineError: the disk is full or the place cannot be written.
    """
    with writing(path, _MISPLACED):
        place = _place(path)
        aside = _aside(place)
        try:
            with aside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(place)
        finally:
            aside.unlink(missing_ok=True)


def try_writing(path: Path) -> None:
    """Find out before the work whether what comes of it can be written; the file stays as it is.

    Raises:
      InputError: there is something that is no file, such as a device.
      MachineError: the disk is full or the place cannot be written.
    """
    with writing(path, _MISPLACED):
        probe = _aside(_place(path))
        probe.touch()
        probe.unlink()


def _place(path: Path) -> Path:
    """Where a link leads; others would be replaced by a file, and root may replace a device too."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if path.exists() and not path.is_file():
        raise InputError("expected a file, received a device or a pipe", str(path), "name a file")
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp-{os.getpid()}")


def sync(path: Path) -> None:
    """Have the disk hold what was written to a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hex sha256 of plain data, the same whatever order its keys have."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
