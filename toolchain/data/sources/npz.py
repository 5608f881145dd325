"""A `.npz` file with images and labels: uint8 [n, h, w], [n, h, w, 1] or [n, h, w, 3].

The zip directory and the header of each array are checked before a pixel is read; nothing is
unpickled, and images are read row by row, so memory does not grow with their number.
"""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from toolchain.data.archives import METHODS
from toolchain.data.sources.array_remedies import SAMPLE_BYTES, images_remedy, labels_remedy
from toolchain.data.sources.base import ArraySource, Layout, Place, check_classes, in_order
from toolchain.data.sources.items import Item, Items
from toolchain.errors import DataError
from toolchain.images.decode import MAX_PIXELS
from toolchain.values import Split

# As `images`/`labels`, as Keras' mnist.npz and as MedMNIST name them.
PAIRS: Final[tuple[tuple[str, str, Split | None], ...]] = (
    ("images", "labels", None),
    ("x", "y", None),
    ("x_train", "y_train", "train"),
    ("x_val", "y_val", "validation"),
    ("x_test", "y_test", "test"),
    ("train_images", "train_labels", "train"),
    ("val_images", "val_labels", "validation"),
    ("test_images", "test_labels", "test"),
)
MAX_MEMBERS: Final = 64
MAX_IMAGES: Final = 5_000_000
# Labels are read at once; a few KB of DEFLATE can claim gigabytes.
MAX_LABELS: Final = 256 * 1024 * 1024
_MAX_HEADER: Final = 4096


@dataclass(frozen=True, slots=True)
class Header:
    """What an array says of itself."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def bytes(self) -> int:
        """Size of the data."""
        return math.prod(self.shape) * self.dtype.itemsize


class OtherArraysError(DataError):
    """The arrays are no images and labels; where a table lies beside them, it may be meant."""


def find(place: Place) -> ArraySource | None:
    """The images of the one `.npz` here, or None where there is none or photos lie beside it.

    Nor is it taken where a table lies beside it, if it holds other arrays or cannot be read there.

    Raises:
      DataError: several files, no known pair of arrays, an array of another type or shape, a
        damaged file.
    """
    files = place.files(".npz")
    if not files or len(place.images()):
        return None
    path = place.container.path / files[0]
    if place.files(".csv", ".tsv") and (len(files) > 1 or not path.is_file() or not _fits(path)):
        return None
    if len(files) > 1:
        raise DataError(
            f"expected one .npz, found several: {', '.join(files[:5])}",
            str(place.path),
            "give one as data.path; it may hold x_train, y_train, x_test and y_test",
        )
    if not path.is_file():
        raise DataError(
            f"{files[0]} lies in an archive, where arrays are not read",
            str(place.path),
            "unpack it and give the .npz itself",
        )
    pairs = _pairs(path)
    items = Items.of(
        Item(f"{images}/{row}", label, split)
        for images, labels, split in pairs
        for row, label in enumerate(_labels(path, images, labels))
    )
    classes = in_order(items.classes.values)
    check_classes(classes, str(path), "give images of two classes or more")
    notes = (f"images in {', '.join(images for images, _, _ in pairs)}",)
    layout = Layout("npz", classes, items, notes)
    return ArraySource(layout, lambda: (row for pair in pairs for row in _images(path, pair[0])))


def _fits(path: Path) -> bool:
    try:
        return bool(_pairs(path))
    except OtherArraysError:
        return False


def _pairs(path: Path) -> list[tuple[str, str, Split | None]]:
    with _opened(path) as archive:
        members = archive.namelist()
        methods = {member.compress_type for member in archive.infolist()}
        if len(members) > MAX_MEMBERS or len(set(members)) != len(members):
            raise DataError(f"expected at most {MAX_MEMBERS} arrays, each once", str(path))
        if not methods.issubset(METHODS):
            raise DataError(
                "expected arrays that are stored or deflated, received another method",
                str(path),
                "save them with np.savez or np.savez_compressed",
            )
    # X_train as well as x_train; what does not end as numpy ends its arrays' names is none.
    arrays = (member.removesuffix(".npy") for member in members if member.endswith(".npy"))
    names = {name.lower(): name for name in arrays}
    found = [
        (names[images], names[labels], split)
        for images, labels, split in PAIRS
        if images in names and labels in names
    ]
    if not found:
        raise OtherArraysError(
            f"expected the arrays `images` and `labels`, found {', '.join(members[:8]) or 'none'}",
            str(path),
            "save them with np.savez(path, images=..., labels=...)",
        )
    return found


def _labels(path: Path, images: str, name: str) -> list[str]:
    """One text a label; [n, 1] is taken as [n]."""
    where = f"{path}:{name}"
    count = _image_header(path, images).shape[0]
    with _opened(path) as archive, archive.open(f"{name}.npy") as file:
        header = _header(file, where)
        if header.dtype.kind not in "biuUS" or header.bytes > MAX_LABELS:
            raise DataError(
                f"expected labels of whole numbers or text, at most {MAX_LABELS:,} bytes, "
                f"received {header.dtype} {list(header.shape)}",
                where,
                labels_remedy(header.shape, header.dtype),
            )
        if header.shape[0] != count or math.prod(header.shape) != count:
            raise DataError(
                f"expected {count:,} labels for {count:,} images, received {list(header.shape)}",
                where,
                labels_remedy(header.shape, header.dtype),
            )
        return _texts(_exactly(file, header.bytes, where), header.dtype, where)


def _texts(data: bytes, dtype: np.dtype[Any], where: str) -> list[str]:
    try:
        values = np.frombuffer(data, dtype)
        if dtype.kind == "S":
            values = np.char.decode(values, "utf-8")
        return [str(value) for value in values]
    except ValueError as error:  # text of no characters, or of characters that do not exist
        raise DataError(f"the labels cannot be read: {error}", where) from error


def _image_header(path: Path, name: str) -> Header:
    with _opened(path) as archive, archive.open(f"{name}.npy") as file:
        header = _header(file, f"{path}:{name}")
        sample = b"" if header.dtype == np.uint8 else file.read(min(header.bytes, SAMPLE_BYTES))
    shape = header.shape
    fits = len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))
    if header.dtype != np.uint8 or not fits or header.fortran:
        order = " in Fortran order" if header.fortran else ""
        raise DataError(
            f"expected uint8 [n, h, w], [n, h, w, 1] or [n, h, w, 3], received {header.dtype} "
            f"{list(shape)}{order}",
            f"{path}:{name}",
            images_remedy(shape, header.dtype, sample),
        )
    height, width = shape[1:3]
    if not 0 < height * width <= MAX_PIXELS or shape[0] > MAX_IMAGES:
        raise DataError(
            f"expected at most {MAX_IMAGES:,} images of 1 to {MAX_PIXELS:,} pixels, received "
            f"{list(shape)}",
            f"{path}:{name}",
        )
    return header


def _images(path: Path, name: str) -> Iterator[NDArray[np.uint8]]:
    """Each image, uint8 [h, w] or [h, w, 3]."""
    header = _image_header(path, name)
    count, *shape = header.shape
    if shape[2:] == [1]:
        shape = shape[:2]
    with _opened(path) as archive, archive.open(f"{name}.npy") as file:
        _header(file, f"{path}:{name}")
        for _ in range(count):
            row = _exactly(file, math.prod(shape), f"{path}:{name}")
            yield np.frombuffer(row, np.uint8).reshape(shape)


def _header(file: IO[bytes], where: str) -> Header:
    """Read the header of an array; the file then stands at its data.

    Raises:
      DataError: it is no array, holds Python objects, or lies about its size.
    """
    try:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(file, max_header_size=_MAX_HEADER)
    # What numpy's header parser lets through on damaged headers.
    except (
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
        SyntaxError,
        RecursionError,
        MemoryError,
        tokenize.TokenError,
    ) as error:
        raise DataError(f"the array cannot be read: {error}", where) from error
    if dtype.hasobject:
        raise DataError(
            "the array holds Python objects, which are not read", where, "save numbers or text"
        )
    if not shape or min(shape) < 0:
        raise DataError(f"expected a list of images or labels, received {list(shape)}", where)
    return Header(shape, fortran, dtype)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ) as error:
        raise DataError(f"the file cannot be read: {error}", str(path)) from error


def _exactly(file: IO[bytes], size: int, where: str) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise DataError("the array ends too early", where, "save the file again")
    return data
