"""What an image file says of itself before it is decoded: format, mode, size, orientation."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

from PIL import Image

from toolchain.images.decode import DAMAGE, FORMATS, ORIENTATION, has_alpha

SUFFIX_FORMATS: Final = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".bmp": "BMP",
    ".webp": "WEBP",
    ".gif": "GIF",
}
# (offset, bytes there, what it is). Also formats that are often renamed to .jpg but not decoded.
_SIGNATURES: Final = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (8, b"WEBP", "WEBP"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftyp", "HEIC or a film"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"8BPS", "Photoshop"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"<", "HTML or XML"),
)


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the pixels.

    Attributes:
      mode: Pillow's name of the channels, such as "RGB", "CMYK" or "P".
      width, height: in pixels, before the orientation is applied.
      bits: of a channel, 8 or 16.
      alpha: whether pixels can be transparent, and are laid on white then.
      animated: whether there is more than one frame.
      orientation: EXIF's, 1 (upright) to 8.
    """

    mode: str
    width: int
    height: int
    bits: int
    alpha: bool
    animated: bool
    orientation: int


def read_header(data: bytes) -> Header | None:
    """The header of an image of `decode.FORMATS`, or None where there is none that can be read."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        # A JPEG of two lenses (MPO) has two frames and is no animation.
        frames = image.format in ("GIF", "PNG", "WEBP") and getattr(image, "is_animated", False)
        return Header(
            mode=image.mode,
            width=image.width,
            height=image.height,
            bits=_bits(data, image),
            alpha=has_alpha(image),
            animated=bool(frames),
            orientation=_orientation(image),
        )
    except DAMAGE:
        return None


def _bits(data: bytes, image: Image.Image) -> int:
    # Pillow opens 16-bit colour PNGs as 8-bit RGB: only the file's own byte tells.
    return data[24] if image.format == "PNG" and len(data) > 24 and data[24] == 16 else 8


def _orientation(image: Image.Image) -> int:
    try:
        # A PNG's own getexif decodes all pixels, however many, to look behind them.
        value = Image.Image.getexif(image).get(ORIENTATION, 1)
    except DAMAGE:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def sniff(data: bytes) -> str:
    """The format that the first bytes tell, such as "JPEG" or "PDF"; empty when none does."""
    for offset, signature, name in _SIGNATURES:
        if data[offset : offset + len(signature)] == signature:
            return name
    return ""


def ends_early(data: bytes) -> bool:
    """Whether the file lacks the end that its format demands; of unknown formats, False."""
    kind = sniff(data)
    if kind == "JPEG":
        return not data.rstrip(b"\0").endswith(b"\xff\xd9")
    if kind == "PNG":
        return b"IEND" not in data[-64:]
    if kind == "GIF":
        return not data.rstrip(b"\0").endswith(b";")
    if kind == "WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if kind == "BMP":
        return len(data) < int.from_bytes(data[2:6], "little")
    return False
