"""Small photos as bytes, and the same files as a folder, a zip or a tar."""

from __future__ import annotations

import errno
import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TAR_MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.xz": "w:xz", ".tar.bz2": "w:bz2"}


def photo(seed: int, size: tuple[int, int] = (12, 10), kind: str = "PNG") -> bytes:
    """Noise that no other seed gives."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def class_folders(classes: tuple[str, ...] = ("cat", "dog"), each: int = 3) -> dict[str, bytes]:
    """Name -> bytes of `each` photos a class."""
    return {
        f"{name}/{index}.png": photo(100 * place + index)
        for place, name in enumerate(classes)
        for index in range(each)
    }


def write_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    suffix = max((s for s in TAR_MODES if path.name.endswith(s)), key=len)
    with tarfile.open(path, TAR_MODES[suffix]) as archive:
        for name, data in files.items():
            add_member(archive, name, data)
    return path


def forbid(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Files that end so cannot be opened, whoever runs the tests: root may read everything."""
    opened = os.open

    def refuse(path, *rest, **more):
        if os.fspath(path).endswith(names):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return opened(path, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)


def add_member(archive: tarfile.TarFile, name: str, data: bytes = b"", **fields: object) -> None:
    """A tar member whose header says what `fields` say."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for field, value in fields.items():
        setattr(member, field, value)
    archive.addfile(member, io.BytesIO(data))
