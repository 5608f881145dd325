"""One pass over the images: what is wrong with each, and the hashes that copies are found by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from toolchain.columns import HASH_BYTES, Hashes, hash_bytes
from toolchain.data.audit.findings import Finding, Kind
from toolchain.data.audit.near import MIN_CONTRAST, SIDE, appearance, reduced
from toolchain.data.parallel import in_threads
from toolchain.data.sources.base import Source
from toolchain.data.sources.items import Item, Items
from toolchain.errors import ImageError
from toolchain.images.decode import MAX_BYTES, MAX_PIXELS, Unreadable, held_rgb, picture_sha256
from toolchain.images.header import SUFFIX_FORMATS, Header, ends_early, read_header, sniff
from toolchain.terminal import track

_NO_THUMB: Final = np.zeros((SIDE, SIDE), np.uint8)
_MODES: Final = {"CMYK": Kind.CMYK, "P": Kind.PALETTE, "PA": Kind.PALETTE}


@dataclass(frozen=True, slots=True)
class Seen:
    """One image after it was read.

    Attributes:
      item: its name, class and given split.
      bytes: of its file.
      sha256: of the decoded picture, as the data stage takes it; empty when broken.
      look: perceptual hash, 64 bits; 0 when it was not asked for.
      thumb: grey uint8 [SIDE, SIDE]; zeros when it was not asked for.
      findings: about this image alone.
    """

    item: Item
    bytes: int
    sha256: str
    look: int
    thumb: NDArray[np.uint8]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Scan:
    """All images after they were read.

    Attributes:
      items: the good ones, in the order read.
      sha256: of each good image.
      looks: uint64 [good]; perceptual hashes; zeros when they were not asked for.
      thumbs: uint8 [good, SIDE * SIDE]; grey; zeros when they were not asked for.
      findings: about single images.
      images, bytes: read, broken ones included.
    """

    items: Items
    sha256: Hashes
    looks: NDArray[np.uint64]
    thumbs: NDArray[np.uint8]
    findings: tuple[Finding, ...]
    images: int
    bytes: int


def scan(source: Source, *, near: bool) -> Scan:
    """Read and decode every image of the source, in parallel.

    Args:
      source: the images.
      near: whether to compute perceptual hashes.
    """

    def work(item: Item, data: bytes) -> Seen:
        return look_at(item, data, near=near)

    count = len(source.layout.items)
    # Filled in place: of a million images, a list of small arrays would take 100 bytes more each.
    looks = np.zeros(count, np.uint64)
    thumbs = np.zeros((count, SIDE * SIDE), np.uint8)
    hashes = np.zeros((count, HASH_BYTES), np.uint8)
    findings: list[Finding] = []
    images = total = good = 0

    def items() -> Iterator[Item]:
        nonlocal images, total, good
        for seen in track(in_threads(source.read(), work), "checking", total=count):
            images += 1
            total += seen.bytes
            findings.extend(seen.findings)
            if seen.sha256:
                hashes[good] = np.frombuffer(hash_bytes(seen.sha256), np.uint8)
                if near:  # else what was never written takes no memory
                    looks[good], thumbs[good] = seen.look, seen.thumb.ravel()
                good += 1
                yield seen.item

    packed = Items.of(items())
    sha256 = Hashes(hashes[:good])
    return Scan(packed, sha256, looks[:good], thumbs[:good], tuple(findings), images, total)


def look_at(item: Item, data: bytes, *, near: bool) -> Seen:
    """Everything the audit wants to know of one image."""
    header = read_header(data)
    kinds = [*_naming(item.name, data), *_properties(header)]
    try:
        sha256, image = _reduced(data, item.name)
    except ImageError as error:
        kinds.insert(0, (_broken(data, header, error), _why(data, header, error)))
        return Seen(item, len(data), "", 0, _NO_THUMB, tuple(_findings(item, kinds)))
    if _is_blank(image):
        kinds.append((Kind.BLANK, ""))
    look, thumb = appearance(image) if near else (0, _NO_THUMB)
    return Seen(item, len(data), sha256, look, thumb, tuple(_findings(item, kinds)))


def _reduced(data: bytes, name: str) -> tuple[str, Image.Image]:
    """The hash of the whole picture, and the picture made small; large ones in their turn."""
    with held_rgb(data, name) as image:
        return picture_sha256(image), reduced(image)


def _is_blank(image: Image.Image) -> bool:
    # numpy's, because Pillow's ImageStat counts a histogram in Python: 0.2 ms an image.
    return float(np.asarray(image).std(axis=(0, 1)).max()) < MIN_CONTRAST


def _findings(item: Item, kinds: Iterable[tuple[Kind, str]]) -> Iterator[Finding]:
    for kind, detail in kinds:
        broken = kind in BROKEN
        yield Finding(kind, (item.name,), detail, (item.name,) if broken else ())


BROKEN: Final = frozenset(
    {
        Kind.EMPTY,
        Kind.UNREADABLE,
        Kind.TRUNCATED,
        Kind.UNDECODABLE,
        Kind.TOO_MANY_BYTES,
        Kind.TOO_MANY_PIXELS,
    }
)


def _broken(data: bytes, header: Header | None, error: ImageError) -> Kind:
    if isinstance(data, Unreadable):
        return Kind.UNREADABLE
    if not data:
        return Kind.EMPTY
    if len(data) > MAX_BYTES:
        return Kind.TOO_MANY_BYTES
    bomb = isinstance(error.__cause__, Image.DecompressionBombError)
    if bomb or (header is not None and header.width * header.height > MAX_PIXELS):
        return Kind.TOO_MANY_PIXELS
    return Kind.TRUNCATED if ends_early(data) else Kind.UNDECODABLE


def _why(data: bytes, header: Header | None, error: ImageError) -> str:
    if not data:
        return data.reason if isinstance(data, Unreadable) else ""
    if len(data) > MAX_BYTES:
        return f"more than {MAX_BYTES / 2**20:.0f} MiB"
    if header is not None and header.width * header.height > MAX_PIXELS:
        return f"{header.width:,} x {header.height:,} pixels"
    if isinstance(error.__cause__, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS:,} pixels"
    found = sniff(data)
    if found and found not in SUFFIX_FORMATS.values():
        return f"the content is {found}"
    # Pillow names the file object, whose address changes from run to run.
    return error.what.removeprefix("the image cannot be decoded: ").split(" <_io")[0]


def _naming(name: str, data: bytes) -> Iterator[tuple[Kind, str]]:
    said = SUFFIX_FORMATS.get(PurePosixPath(name).suffix.lower())
    found = sniff(data)
    if said and found and said != found:
        yield Kind.WRONGLY_NAMED, f"the content is {found}"


def _properties(header: Header | None) -> Iterator[tuple[Kind, str]]:
    if header is None:
        return
    if header.mode in _MODES:
        yield _MODES[header.mode], ""
    if header.bits == 16:
        yield Kind.SIXTEEN_BIT, ""
    if header.alpha:
        yield Kind.ALPHA, ""
    if header.animated:
        yield Kind.ANIMATED, ""
    if header.orientation != 1:
        yield Kind.EXIF_ROTATED, f"EXIF orientation {header.orientation}"
