"""Bytes -> uint8 HWC RGB. One decoder for training, calibration, verification and predict."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from toolchain.errors import ImageError
from toolchain.images.in_flight import in_flight

FORMATS: Final = ("JPEG", "PNG", "BMP", "WEBP", "GIF")
SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".gif"})
MAX_BYTES: Final = 64 * 1024 * 1024
# Pillow warns from 89,478,485 pixels on and refuses twice that; a 284 KB PNG of 10,000 x 10,000
# took 397 MB with only the warning, so our own bound lies below it.
MAX_PIXELS: Final = 50_000_000
# Pixels that are laid on white at a time.
_BAND: Final = 1 << 20
# Pixels that are hashed at a time, of a picture that has more than a band.
_HASHED_BAND: Final = 1 << 16
# Where Pillow looks for an orientation; without any of them it would look in vain.
_ORIENTED: Final = frozenset({"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"})
ORIENTATION: Final = 0x0112
# What turns a picture upright that is stored in one of EXIF's orientations; 1 is upright.
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Modes of 16 bits, of which the high byte is kept and a transparent grey is not heeded.
_DEEP: Final = frozenset({"I;16", "I;16B", "I;16L", "I"})
# Part of every cache's key: raise it when the same bytes would give other pixels than before.
DECODER: Final = 1
# What `Unreadable` files are told as; it may pass, unlike what their bytes are told as.
UNREADABLE: Final = "the image cannot be read"
# The closed list of what Pillow raises on damaged input: what its own fuzzer accepts, and
# struct.error, which Pillow raises on an EXIF block that is cut.
DAMAGE: Final = (
    OSError,
    SyntaxError,
    ValueError,
    NotImplementedError,
    OverflowError,
    MemoryError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    Image.DecompressionBombError,
)
# Set once: `catch_warnings` changes the whole process and images are decoded in several threads.
warnings.filterwarnings("ignore", module=r"PIL\.")
_REMEDY: Final = f"give one of {', '.join(FORMATS)} that an image viewer opens"


class Unreadable(bytes):
    """Stands for the bytes of an image file that could not be read: it has none, and says why."""

    reason: str

    def __new__(cls, reason: str) -> Unreadable:
        """Of a file that could not be read for this reason, a few words."""
        made = super().__new__(cls)
        made.reason = reason
        return made


@dataclass(frozen=True, slots=True)
class Decoding:
    """What `open_rgb` makes of any image file, written down for clients that decode themselves.

    Attributes:
      exif: what is done with the orientation tag of EXIF.
      alpha: where transparent pixels go.
      grey: how one channel becomes three.
      deep: what is kept of 16-bit grey.
      animation: which frame is taken.
      profile: what is done with an ICC colour profile.
    """

    exif: str = "apply"
    alpha: str = "on-white"
    grey: str = "repeat"
    deep: str = "high-byte"
    animation: str = "first-frame"
    profile: str = "ignore"


def open_rgb(data: bytes, name: str, draft: tuple[int, int] | None = None) -> Image.Image:
    """Decode one image, EXIF orientation applied.

    Args:
      data: the whole file.
      name: what to call it in an error.
      draft: (width, height) that is needed at least; JPEGs larger than twice that are decoded
        at a reduced scale. None decodes at full size.

    Returns:
      A loaded Pillow image in mode RGB: alpha is dropped onto white, grey is repeated to three
      channels, 16-bit grey is scaled to 8 bits, of an animation the first frame is taken.

    Raises:
      ImageError: empty, too large, not an image of `FORMATS`, truncated, damaged or `Unreadable`.
    """
    with _telling(name):
        return _upright_rgb(_opened(data, name, draft))


@contextlib.contextmanager
def held_rgb(data: bytes, name: str, draft: tuple[int, int] | None = None) -> Iterator[Image.Image]:
    """`open_rgb` for many threads: waits while the others hold too many pixels (in_flight.py).

    The image is to be let go when the block ends.
    """
    with _telling(name):
        image = _opened(data, name, draft)
    with in_flight(image.width * image.height):
        with _telling(name):
            image = _upright_rgb(image)
        yield image


@contextlib.contextmanager
def _telling(name: str) -> Iterator[None]:
    """Turns what Pillow raises on damaged images into an error that names the image."""
    try:
        yield
    except DAMAGE as error:
        # Pillow names the file object here: an address in memory, another one in every run.
        is_unknown = isinstance(error, UnidentifiedImageError)
        reason = "it is no image, or a damaged one" if is_unknown else error
        raise ImageError(f"the image cannot be decoded: {reason}", name, _REMEDY) from error


def _opened(data: bytes, name: str, draft: tuple[int, int] | None) -> Image.Image:
    """The image before its pixels are read."""
    if isinstance(data, Unreadable):
        raise ImageError(f"{UNREADABLE}: {data.reason}", name, "allow reading it, or copy it again")
    if not data:
        raise ImageError("the image file is empty", name, _REMEDY)
    if len(data) > MAX_BYTES:
        raise ImageError(
            f"the image has {len(data):,} bytes, at most {MAX_BYTES:,} are read", name, _REMEDY
        )
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"the image has {width} x {height} pixels, at most {MAX_PIXELS:,} are decoded",
            name,
            "scale it down",
        )
    if draft is not None:
        image.draft("RGB", (2 * draft[0], 2 * draft[1]))
    return image


def _upright_rgb(image: Image.Image) -> Image.Image:
    # verify() accepts truncated JPEGs; only load() meets the damage.
    image.load()
    if not _ORIENTED.isdisjoint(image.info):
        image = _upright(image)
    return _to_rgb(image)


def _upright(image: Image.Image) -> Image.Image:
    """The pixels of ImageOps.exif_transpose.

    That writes the EXIF block anew as well, which nobody asks for here and which fails on sound
    photos: it takes a number for a text, a large one for a small one, and so on.
    """
    turn = _TURNS.get(image.getexif().get(ORIENTATION, 1))
    if turn is None:
        return image
    turned = image.transpose(turn)
    # Whoever called still holds the image: its pixels would be there beside those of the result.
    image.close()
    return turned


def has_alpha(image: Image.Image) -> bool:
    """Whether pixels can be transparent, and are laid on white then."""
    clear = "transparency" in image.info and image.mode not in _DEEP
    return clear or image.mode in ("RGBA", "LA", "PA")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP:
        grey = np.array(image)
        if image.mode == "I":
            np.clip(grey, 0, 65535, out=grey)
        grey >>= 8
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if has_alpha(image):
        return _on_white(image)
    # `convert` would copy what is RGB already: with exif_transpose's copy, 18 % of the time.
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """In bands of rows: 49 million pixels at once took 1.1 GB, so they take 0.4 GB."""
    result = Image.new("RGB", image.size)
    rows = max(1, _BAND // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        band = image.crop(box).convert("RGBA")
        white = Image.new("RGBA", band.size, (255, 255, 255, 255))
        result.paste(Image.alpha_composite(white, band).convert("RGB"), box)
    return result


def read_file(path: Path) -> bytes:
    """The bytes of an image file, never more than `MAX_BYTES` + 1 of them.

    Raises:
      ImageError: the file is missing, not a regular file or cannot be read.
    """
    try:
        if not path.is_file():
            raise ImageError("expected an image file, found none", str(path), "check the path")
        return read_bounded(str(path))
    except OSError as error:
        raise ImageError(f"the file cannot be read: {error.strerror}", str(path)) from error


def read_bounded(path: str) -> bytes:
    """The bytes of a file, never more than `MAX_BYTES` + 1 of them.

    Room for as much as is asked for is made before the first byte is read: asking for 64 MiB of
    each photo took 0.1 ms of the 0.5 ms that decoding it takes. Python's own files took 0.04 ms.

    Raises:
      OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        most = min(os.fstat(descriptor).st_size, MAX_BYTES) + 1
        data = os.read(descriptor, most)
        # One call gives all of a file on a disk; a network may give it piece by piece.
        while len(data) < most - 1 and (more := os.read(descriptor, most - len(data))):
            data += more
        return data
    finally:
        os.close(descriptor)


def picture_sha256(image: Image.Image) -> str:
    """Hash of a decoded RGB image's size and pixels: the same whatever file it came from.

    It does not depend on the size that a network wants, so neither do the splits drawn from it.
    """
    width, height = image.size
    digest = hashlib.sha256(f"{width}x{height}\n".encode())
    # A copy of all of a large picture comes in fresh pages: twice the time of bands that stay in
    # the processor's cache. Of a small one it is the other way round.
    rows = height if width * height <= _BAND else max(1, _HASHED_BAND // width)
    for top in range(0, height, rows):
        whole = rows == height
        band = image if whole else image.crop((0, top, width, min(top + rows, height)))
        digest.update(band.tobytes())
    return digest.hexdigest()


def to_array(image: Image.Image) -> NDArray[np.uint8]:
    """A Pillow RGB image as uint8 [height, width, 3] in 0..255."""
    return np.asarray(image, dtype=np.uint8)
