"""Whether files are those that were read before: told without reading them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable


def status_of(path: str) -> os.stat_result | None:
    """What the system knows of a file or link; None where there is none."""
    try:
        return os.lstat(path)
    except (OSError, ValueError):  # nor is there one whose name is too long or holds a NUL
        return None


def hash_stamps(files: Iterable[tuple[str, os.stat_result | None]]) -> str:
    """Of names and of what changes with their content.

    The time of change of the inode is the one that no program sets back: `cp -p`, `rsync -t` and
    `unzip` restore the other. With the inode's number, two files of one moment differ too.
    """
    digest = hashlib.sha256()
    for name, status in files:
        digest.update(f"{name}\0".encode("utf-8", "surrogatepass"))
        if status is not None:
            times = f"{status.st_mtime_ns}\0{status.st_ctime_ns}"
            digest.update(f"{status.st_size}\0{times}\0{status.st_ino}\n".encode())
    return digest.hexdigest()
