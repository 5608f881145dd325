"""How much `toolchain data check` finds of what was planted, and how much it finds that was not.

    python benchmarks/audit.py                              photos that are drawn here
    python benchmarks/audit.py --photos cats_vs_dogs.tar    real ones, from $TOOLCHAIN_DATA/datasets
    python benchmarks/audit.py --clean cifar10.tar.xz       false alarms and time, of a set as it is

Prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import os
import resource
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from toolchain.data.access import read_some
from toolchain.data.audit import Audit, Kind, audit
from toolchain.data.source import open_source
from toolchain.images.decode import MAX_BYTES
from toolchain.recipe import Recipe, parse_recipe

EACH = 50
NEAR = (Kind.NEAR_DUPLICATE, Kind.NEAR_SPLIT_DUPLICATE, Kind.NEAR_TWO_LABELS)
EXACT = (Kind.DUPLICATE, Kind.SPLIT_DUPLICATE, Kind.TWO_LABELS)


def recipe_of(path: Path) -> Recipe:
    return parse_recipe({"data": {"path": str(path)}}, name="audit")


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def drawn(seed: int, size: tuple[int, int] = (128, 96)) -> Image.Image:
    """Coarse and fine random colours, as a photo has shapes and detail."""
    rng = np.random.default_rng(seed)
    image = np.zeros((size[1], size[0], 3))
    for cells, weight in ((4, 1.0), (8, 0.6), (16, 0.3), (48, 0.1)):
        noise = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        layer = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
        image += weight * (np.asarray(layer, float) - 128)
    return Image.fromarray((image / 1.2 + 128).clip(0, 255).astype(np.uint8))


def resized(image: Image.Image, scale: float) -> Image.Image:
    size = (round(image.width * scale), round(image.height * scale))
    return image.resize(size, Image.Resampling.BICUBIC)


def brightened(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    **{f"JPEG {q}": lambda image, q=q: encoded(image, quality=q) for q in (60, 75, 90)},
    **{
        f"resized {scale - 1:+.0%}": lambda image, s=scale: encoded(resized(image, s), quality=90)
        for scale in (0.7, 0.85, 0.95, 1.05, 1.15, 1.3)
    },
    **{
        f"brightness {factor - 1:+.0%}": lambda image, f=factor: encoded(
            brightened(image, f), quality=90
        )
        for factor in (0.9, 1.1)
    },
}


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG with this header, whatever its rows hold."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def rotated(image: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, exif=exif)


def faults(seed: int = 10_000) -> Iterator[tuple[Kind, str, bytes]]:
    """(kind, ending, content) of single images that each have one fault at least."""
    number = iter(range(seed, seed + 1000))

    def new() -> Image.Image:
        return drawn(next(number))

    def frames() -> dict[str, object]:
        return {"save_all": True, "append_images": [new(), new()]}

    for kind, ending in (("JPEG", "jpg"), ("PNG", "png"), ("GIF", "gif"), ("WEBP", "webp")):
        for share in (0.1, 0.5, 0.9):
            data = encoded(new(), kind)
            yield Kind.TRUNCATED, ending, data[: int(len(data) * share)]
    data = bytearray(encoded(new(), "PNG"))
    data[200:400] = bytes(200)
    yield Kind.UNDECODABLE, "png", bytes(data)
    yield Kind.UNDECODABLE, "jpg", np.random.default_rng(seed).bytes(5000)
    yield Kind.UNDECODABLE, "jpg", b"<!DOCTYPE html><title>404</title>"
    yield Kind.EMPTY, "jpg", b""
    yield Kind.TOO_MANY_BYTES, "bmp", encoded(new(), "BMP") + bytes(MAX_BYTES)
    yield Kind.TOO_MANY_PIXELS, "png", png(8000, 7000, 8, 0, b"")
    yield Kind.TOO_MANY_PIXELS, "png", png(60000, 60000, 8, 0, b"")
    yield Kind.WRONGLY_NAMED, "jpg", encoded(new(), "PNG")
    yield Kind.WRONGLY_NAMED, "png", encoded(new(), "WEBP")
    yield Kind.WRONGLY_NAMED, "jpg", encoded(new(), "TIFF")
    yield Kind.CMYK, "jpg", encoded(new().convert("CMYK"))
    grey = np.asarray(new().convert("L")).astype(np.uint16) * 257
    yield Kind.SIXTEEN_BIT, "png", encoded(Image.fromarray(grey), "PNG")
    colour = np.asarray(new()).astype(">u2") * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colour)
    yield Kind.SIXTEEN_BIT, "png", png(colour.shape[1], colour.shape[0], 16, 2, rows)
    yield Kind.PALETTE, "png", encoded(new().quantize(64), "PNG")
    yield Kind.PALETTE, "gif", encoded(new().quantize(64), "GIF")
    clear = new().convert("RGBA")
    clear.putalpha(120)
    yield Kind.ALPHA, "png", encoded(clear, "PNG")
    yield Kind.ALPHA, "webp", encoded(clear, "WEBP")
    yield Kind.ALPHA, "png", encoded(new().quantize(64), "PNG", transparency=0)
    for kind, ending in (("GIF", "gif"), ("WEBP", "webp"), ("PNG", "png")):
        yield Kind.ANIMATED, ending, encoded(new(), kind, **frames())
    for orientation in (2, 3, 6, 8):
        yield Kind.EXIF_ROTATED, "jpg", rotated(new(), orientation)
    yield Kind.BLANK, "jpg", encoded(Image.new("RGB", (64, 64), (90, 120, 30)))


@dataclasses.dataclass(frozen=True)
class Row:
    """What was planted of one sort, and how much of it was found."""

    what: str
    planted: int
    found: int


def photos_from(path: Path | None, count: int) -> list[Image.Image]:
    """Photos to plant copies of: the first of an archive, evenly spread, or drawn ones."""
    if path is None:
        return [drawn(seed) for seed in range(count)]
    source = open_source(recipe_of(path))
    items = source.layout.items
    names = {items[at].name for at in np.linspace(0, len(items) - 1, count).astype(int)}
    return [Image.open(io.BytesIO(data)).convert("RGB") for _, data in read_some(source, names)]


def plant_copies(folder: Path, photos: list[Image.Image]) -> dict[str, dict[str, str]]:
    """Write photos, and `EACH` copies of every sort; returns sort -> copy's name -> photo's."""
    planted: dict[str, dict[str, str]] = {}

    def write(name: str, data: bytes) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)

    def home(at: int) -> str:
        return "ab"[at % 2]

    for at, photo in enumerate(photos):
        write(f"{home(at)}/{at}.png", encoded(photo, "PNG", compress_level=1))
    sorts = {"exact": lambda image: encoded(image, "PNG", compress_level=6), **CHANGES}
    rng = np.random.default_rng(0)
    for number, (sort, change) in enumerate(sorts.items()):
        chosen = rng.choice(len(photos), EACH, replace=False)
        planted[sort] = {}
        for at in chosen.tolist():
            name = f"{home(at)}/copy-{number}-{at}.{'png' if sort == 'exact' else 'jpg'}"
            write(name, change(photos[at]))
            planted[sort][name] = f"{home(at)}/{at}.png"
    return planted


def together(result: Audit, kinds: tuple[Kind, ...]) -> list[set[str]]:
    return [set(finding.names) for finding in result.findings if finding.kind in kinds]


def copies_table(photos: list[Image.Image]) -> tuple[list[Row], Row]:
    """Recall of every sort of copy; and of the pairs that were found, how many are copies."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        planted = plant_copies(folder, photos)
        result = audit(recipe_of(folder))
    exact, near = together(result, EXACT), together(result, NEAR)
    # A copy of a photo that has exact copies may be grouped with any of them.
    photo_of = {name: photo for names in planted.values() for name, photo in names.items()}
    rows = []
    for sort, names in planted.items():
        groups = exact if sort == "exact" else near + exact
        found = sum(
            any(name in group and _has_kin(name, group, photo_of) for group in groups)
            for name in names
        )
        rows.append(Row(sort, len(names), found))
    flagged = {name for group in near + exact for name in group}
    right = {n for group in near + exact for n in group if _has_kin(n, group, photo_of)}
    return rows, Row("flagged images that are copies or have one", len(flagged), len(right))


def _has_kin(name: str, group: set[str], photo_of: dict[str, str]) -> bool:
    own = photo_of.get(name, name)
    return any(photo_of.get(other, other) == own for other in group if other != name)


def faults_table() -> list[Row]:
    """For every kind of fault in a single image: planted, and found by name and kind."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        wanted: dict[Kind, set[str]] = {}
        for at, (kind, ending, data) in enumerate(faults()):
            name = f"{'ab'[at % 2]}/{at}.{ending}"
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
            wanted.setdefault(kind, set()).add(name)
        for at in range(40):
            (folder / f"{'ab'[at % 2]}/good-{at}.jpg").write_bytes(encoded(drawn(at)))
        result = audit(recipe_of(folder))
    found = {kind: {f.names[0] for f in result.of(kind)} for kind in wanted}
    return [Row(kind.slug, len(names), len(names & found[kind])) for kind, names in wanted.items()]


def clean_table(path: Path) -> list[tuple[str, str]]:
    """A data set as it is: images that are called near-duplicates, and the time it takes."""
    rows = []
    for near in (False, True):
        before, started = time.process_time(), time.monotonic()
        result = audit(recipe_of(path), near=near)
        wall, cpu = time.monotonic() - started, time.process_time() - before
        label = "with" if near else "without"
        rows.append((f"{result.images:,} images, {label} near-duplicates", f"{wall:.1f} s"))
        rows.append(("  processor time, all threads", f"{cpu:.1f} s"))
    flagged = {name for group in together(result, NEAR) for name in group}
    rows.append(("called near-duplicates", f"{len(flagged):,}"))
    rows.append(("share of all images", f"{len(flagged) / result.images:.2%}"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows.append(("peak memory", f"{peak:.0f} MiB"))
    return rows


def growth_table(path: Path) -> Iterator[tuple[str, str]]:
    """Processor time of a quarter, a half and all of a data set, as a folder."""
    source = open_source(recipe_of(path))
    names = [item.name for item in source.layout.items]
    order = np.random.default_rng(0).permutation(len(names)).tolist()
    for share in (0.25, 0.5, 1.0):
        wanted = {names[at] for at in order[: int(share * len(names))]}
        with tempfile.TemporaryDirectory() as temporary:
            for name, data in read_some(source, wanted):
                target = Path(temporary, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
            for near in (False, True):
                before = time.process_time()
                audit(recipe_of(Path(temporary)), near=near)
                seconds = time.process_time() - before
                label = "with" if near else "without"
                yield f"{len(wanted):,} images, {label} near-duplicates", f"{seconds:.1f} s"


def markdown(rows: list[Row]) -> str:
    lines = ["| planted | images | found | share |", "|---|--:|--:|--:|"]
    for row in rows:
        lines.append(
            f"| {row.what} | {row.planted} | {row.found} | {row.found / row.planted:.1%} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="archive to take photos from")
    parser.add_argument("--count", type=int, default=1000, help="photos to hide the copies among")
    parser.add_argument("--clean", type=Path, help="a data set to audit as it is")
    parser.add_argument("--growth", action="store_true", help="time parts of it too")
    chosen = parser.parse_args()
    datasets = Path(os.environ.get("TOOLCHAIN_DATA", ".")) / "datasets"
    for name in ("photos", "clean"):
        path = getattr(chosen, name)
        if path is not None and not path.exists():
            setattr(chosen, name, datasets / path)
            if not (datasets / path).exists():
                parser.error(f"{path} is neither here nor in {datasets}")
    if chosen.clean:
        print(f"{chosen.clean.name}\n\n| | |\n|---|--:|")
        for what, value in clean_table(chosen.clean):
            print(f"| {what} | {value} |", flush=True)
        for what, value in growth_table(chosen.clean) if chosen.growth else ():
            print(f"| processor time of {what} | {value} |", flush=True)
        return
    found, precision = copies_table(photos_from(chosen.photos, chosen.count))
    print(f"Copies of {chosen.photos.name if chosen.photos else 'drawn photos'}\n")
    print(markdown([*found, precision]))
    print(f"\nFaults in single images\n\n{markdown(faults_table())}")


if __name__ == "__main__":
    sys.exit(main())
