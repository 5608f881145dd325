"""Images: one decoder for everything, equal to Pillow on good files, ImageError on all others."""

from __future__ import annotations

import hashlib
import io
import random
import re
import resource
import struct
import subprocess
import sys
import textwrap
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from toolchain.errors import ExitCode, ImageError
from toolchain.images import decode
from toolchain.images.decode import open_rgb, picture_sha256, read_file, to_array
from toolchain.images.preprocess import MEAN_STD, Frame, Preprocessing, normalise, pixels_of, resize

MALFORMED = 300
SEED = 7
TOLERANCE = {
    "jpeg grey level": 3,  # a smooth picture through JPEG at quality 95
    "normalise": 1e-6,  # float32 rounding of one subtraction and one division
}
PEAK_MIB = 600  # of a process that decodes the largest image allowed, and of one fed with bombs


def picture(width=40, height=24):
    """A smooth gradient that differs in every corner: uint8 [height, width, 3]."""
    rows, columns = np.mgrid[0:height, 0:width]
    red = 255 * columns // max(width - 1, 1)
    green = 255 * rows // max(height - 1, 1)
    return np.stack([red, green, 255 - red], axis=-1).astype(np.uint8)


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def decoded(data):
    return to_array(open_rgb(data, "x"))


@pytest.mark.parametrize("form", ["PNG", "BMP"])
def test_lossless_formats_give_back_the_pixels(form):
    assert np.array_equal(decoded(encoded(Image.fromarray(picture()), form)), picture())


def test_lossless_webp_gives_back_the_pixels():
    data = encoded(Image.fromarray(picture()), "WEBP", lossless=True)
    assert np.array_equal(decoded(data), picture())


def test_jpeg_equals_pillow():
    data = encoded(Image.fromarray(picture()), "JPEG", quality=95)
    assert np.array_equal(decoded(data), np.asarray(Image.open(io.BytesIO(data))))


ORIENTATIONS = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_exif_orientation_is_applied(orientation, form):
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain = decoded(encoded(Image.fromarray(picture()), form))
    turned = decoded(encoded(Image.fromarray(picture()), form, exif=exif.tobytes()))
    assert np.array_equal(turned, ORIENTATIONS[orientation](plain))


XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description '
    'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


@pytest.mark.parametrize(
    "place", ["xmp in JPEG", "xmp in WEBP", "xmp in PNG", "raw profile in PNG"]
)
def test_an_orientation_is_found_wherever_it_stands(place):
    """Pillow is asked to look only where one of these is; it finds what it always found."""
    where, _, form = place.partition(" in ")
    info, options = PngImagePlugin.PngInfo(), {}
    if form != "PNG":
        options = {"xmp": XMP.encode(), **({"lossless": True} if form == "WEBP" else {})}
    elif where == "xmp":
        info.add_itxt("XML:com.adobe.xmp", XMP)
    else:
        exif = Image.Exif()
        exif[0x0112] = 6
        raw = exif.tobytes()
        info.add_text("Raw profile type exif", f"\nexif\n{len(raw):8}\n{raw.hex()}\n", zip=True)
    if form == "PNG":
        options = {"pnginfo": info}
    data = encoded(Image.fromarray(picture()), form, **options)
    looked = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert looked.size == picture().shape[:2]
    assert np.array_equal(decoded(data), np.asarray(looked))


@pytest.mark.parametrize("size", [(3, 2), (1024, 1024), (1025, 1024), (1 << 17, 9), (9, 130_000)])
def test_the_hash_is_that_of_all_pixels_at_once(size):
    rng = np.random.default_rng(sum(size))
    pixels = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
    whole = hashlib.sha256(f"{size[0]}x{size[1]}\n".encode() + pixels.tobytes())
    assert picture_sha256(Image.fromarray(pixels)) == whole.hexdigest()


def test_an_orientation_that_does_not_exist_is_ignored():
    exif = Image.Exif()
    exif[0x0112] = 77
    data = encoded(Image.fromarray(picture()), "PNG", exif=exif.tobytes())
    assert np.array_equal(decoded(data), picture())


def test_cmyk_becomes_rgb():
    found = decoded(encoded(Image.fromarray(picture()).convert("CMYK"), "JPEG", quality=95))
    difference = np.abs(found.astype(int) - picture()).max()
    assert found.shape == picture().shape
    assert difference <= 8 * TOLERANCE["jpeg grey level"]


def test_sixteen_bit_grey_keeps_its_upper_byte():
    grey = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    found = decoded(encoded(Image.fromarray(grey)))
    assert np.array_equal(found[..., 0], (grey >> 8).astype(np.uint8))
    assert np.array_equal(found[..., 0], found[..., 2])


def test_grey_is_repeated():
    grey = picture()[..., 0]
    found = decoded(encoded(Image.fromarray(grey)))
    assert np.array_equal(found, np.repeat(grey[..., None], 3, axis=2))


def test_one_bit_is_black_and_white():
    bits = Image.fromarray(picture()[..., 0] > 127)
    assert set(np.unique(decoded(encoded(bits)))) == {0, 255}


def test_a_palette_is_looked_up():
    image = Image.fromarray(picture()).quantize(16)
    assert np.array_equal(decoded(encoded(image)), np.asarray(image.convert("RGB")))


def test_alpha_is_laid_on_white():
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (10, 20, 30, 255)
    rgba[0, 1] = (10, 20, 30, 0)
    found = decoded(encoded(Image.fromarray(rgba)))
    assert found[0, 0].tolist() == [10, 20, 30]
    assert found[0, 1].tolist() == [255, 255, 255]


def test_grey_with_alpha_is_laid_on_white():
    grey = np.zeros((2, 2, 2), np.uint8)
    assert decoded(encoded(Image.fromarray(grey, "LA"))).min() == 255


def test_a_transparent_palette_colour_is_white():
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 200, 0, 0])
    image.putdata([0, 1])
    found = decoded(encoded(image, transparency=0))
    assert found[0].tolist() == [[255, 255, 255], [200, 0, 0]]


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decoded(data)[0, 0].tolist() == [255, 0, 0]


def test_a_colour_profile_is_not_applied():
    """Of one whose red and blue are exchanged, nobody can miss that it was."""
    plain = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    tags = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}
    swapped = re.sub(b"|".join(tags), lambda tag: tags[tag[0]], plain.tobytes())
    data = encoded(Image.fromarray(picture()), icc_profile=swapped)
    stored = Image.open(io.BytesIO(data))
    profile = ImageCms.ImageCmsProfile(io.BytesIO(stored.info["icc_profile"]))
    applied = np.asarray(ImageCms.profileToProfile(stored, profile, plain))
    assert np.abs(applied.astype(int) - picture()).max() > 100
    assert np.array_equal(decoded(data), picture())


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_extreme_sizes(size):
    assert decoded(encoded(Image.new("RGB", size))).shape == (size[1], size[0], 3)


def test_draft_never_gives_less_than_what_is_needed():
    data = encoded(Image.fromarray(picture(1024, 640)), "JPEG")
    width, height = open_rgb(data, "x", draft=(100, 100)).size
    assert 100 <= height < 640
    assert 100 <= width < 1024


# What is refused.


def refused(data, match):
    with pytest.raises(ImageError, match=match) as caught:
        open_rgb(data, "photos/x.jpg")
    assert caught.value.exit_code == ExitCode.INPUT
    lines = str(caught.value).splitlines()
    assert len(lines) <= 3
    assert "photos/x.jpg" in lines[1]


def test_an_empty_file():
    refused(b"", "empty")


def test_a_text_named_jpg():
    refused(b"this is not a photo\n" * 50, "cannot be decoded")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file(form, share):
    noise = np.random.default_rng(SEED).integers(0, 256, (64, 64, 3), np.uint8)
    data = encoded(Image.fromarray(noise), form)
    refused(data[: int(len(data) * share)], "cannot be decoded")


@pytest.mark.parametrize("form", ["TIFF", "ICO", "PPM", "TGA", "PCX", "PDF", "EPS"])
def test_a_format_off_the_list(form):
    refused(encoded(Image.fromarray(picture()), form), "cannot be decoded")


def bomb(side=10_000):
    """A PNG of side x side one-bit zeros: small as a file, large once decoded."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    rows = [packer.compress(bytes(1 + (side + 7) // 8)) for _ in range(side)]
    packed = b"".join(rows) + packer.flush()
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="module")
def bombs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bombs")
    for side in (7_072, 10_000, 14_000):
        (folder / f"{side}.png").write_bytes(bomb(side))
    return folder


def test_a_bomb_is_refused_before_it_is_unpacked(bombs):
    for path in bombs.iterdir():
        assert path.stat().st_size < 1_000_000
        refused(path.read_bytes(), "pixels|decompression bomb")


MEASURE_PEAK = """
import re, resource
from pathlib import Path
try:
    # Linux counts into ru_maxrss what the parent held before it started this process.
    peak = int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(peak / 1024)
"""


def peak_mib(code, *arguments):
    """Peak resident memory of a Python process that runs `code`, MiB."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code) + MEASURE_PEAK, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return float(done.stdout.splitlines()[-1])


def test_bombs_do_not_cost_memory(bombs):
    code = """
    import sys
    from pathlib import Path
    from toolchain.errors import ImageError
    from toolchain.images.decode import open_rgb
    for path in Path(sys.argv[1]).iterdir():
        try:
            open_rgb(path.read_bytes(), path.name)
        except ImageError:
            continue
        sys.exit(f"{path} was decoded")
    """
    assert peak_mib(code, bombs) < PEAK_MIB / 4


def test_more_bytes_than_the_limit(monkeypatch):
    monkeypatch.setattr(decode, "MAX_BYTES", 1000)
    refused(encoded(Image.fromarray(picture())) + bytes(1000), "at most 1,000")


def test_read_file_reads_no_more_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "MAX_BYTES", 1000)
    path = tmp_path / "x.png"
    path.write_bytes(bytes(5000))
    assert len(read_file(path)) == 1001


@pytest.mark.parametrize("name", ["none.png", "", "\x00.png", "a" * 5000])
def test_read_file_refuses_what_is_not_a_file(tmp_path, name):
    with pytest.raises(ImageError):
        read_file(tmp_path / name)


def test_read_file_refuses_a_symlink_loop_and_a_device(tmp_path):
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for path in (loop, tmp_path / "zero.png"):
        with pytest.raises(ImageError):
            read_file(path)


def malformed(trial):
    """One of many ways to damage an image, the same for the same trial."""
    dice = random.Random(SEED * 100_003 + trial)
    form = dice.choice(["JPEG", "PNG", "BMP", "WEBP", "GIF"])
    mode = dice.choice(["RGB", "L", "P", "1"] if form != "JPEG" else ["RGB", "L", "CMYK"])
    image = Image.fromarray(picture(dice.randint(1, 70), dice.randint(1, 70))).convert(mode)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = dice.randint(0, 9), "text"
    options = {} if form in ("BMP", "GIF") else {"exif": exif.tobytes()}
    data = bytearray(encoded(image, form, **options))
    for _ in range(dice.randint(1, 12)):
        place = dice.randrange(min(len(data), dice.choice([64, 400, len(data)])))
        kind = dice.randrange(5)
        if kind == 0:
            data[place] ^= 1 << dice.randrange(8)
        elif kind == 1:
            data[place] = dice.choice([0, 0xFF, 0x7F, 0x80])
        elif kind == 2:
            del data[place : place + dice.randint(1, 40)]
        elif kind == 3:
            data[place:place] = dice.randbytes(dice.randint(1, 40))
        else:
            data[place : place + 4] = struct.pack(dice.choice([">I", "<I"]), dice.getrandbits(32))
        if not data:
            break
    return bytes(data)


def test_malformed_images_are_decoded_or_refused():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = {"decoded": 0, "refused": 0}
    for trial in range(MALFORMED):
        try:
            array = decoded(malformed(trial))
        except ImageError:
            outcomes["refused"] += 1
        else:
            assert array.dtype == np.uint8
            assert array.shape[2:] == (3,)
            outcomes["decoded"] += 1
    assert min(outcomes.values()) > MALFORMED // 20, outcomes
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < PEAK_MIB


def test_an_exif_block_that_cannot_be_written_again():
    """Found by trial 6603 of `malformed`: ImageOps.exif_transpose raises struct.error on it."""
    data = malformed(6603)
    with pytest.raises(struct.error):
        ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert decoded(data).ndim == 3


@settings(max_examples=400)
@given(st.binary(max_size=300), st.sampled_from(["JPEG", "PNG", "BMP", "WEBP", "GIF"]))
def test_any_bytes_are_decoded_or_refused(tail, form):
    data = encoded(Image.fromarray(picture(8, 8)), form)
    for hostile in (tail, data[: len(tail)] + tail, data[:12] + tail):
        try:
            assert decoded(hostile).ndim == 3
        except ImageError as error:
            assert len(str(error).splitlines()) <= 3


# Resize and normalise.


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB"])
def test_laying_on_white_in_bands_changes_no_pixel(mode, monkeypatch):
    pixels = np.random.default_rng(3).integers(0, 256, (61, 47, 4), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image = image.convert("RGB").quantize(16) if mode == "P" else image.convert(mode)
    clear = {"P": 3, "L": 7, "RGB": (1, 2, 3)}
    data = encoded(image, "PNG", **({"transparency": clear[mode]} if mode in clear else {}))
    whole = to_array(open_rgb(data, "x"))
    monkeypatch.setattr(decode, "_BAND", 500)
    assert np.array_equal(to_array(open_rgb(data, "x")), whole)
    rgba = Image.open(io.BytesIO(data)).convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    assert np.array_equal(whole, np.asarray(Image.alpha_composite(white, rgba).convert("RGB")))


@pytest.mark.parametrize("size", [8, 24, 48, 160])
def test_resize_equals_pillow(size):
    image = Image.fromarray(picture(120, 75))
    expected = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    assert np.array_equal(resize(image, Frame(size)), expected)


def test_resize_leaves_an_image_of_the_size_alone():
    image = Image.fromarray(picture(32, 32))
    assert np.array_equal(resize(image, Frame(32)), picture(32, 32))


def test_a_crop_keeps_the_middle_of_both_sides():
    pixels = picture(101, 64)
    expected = resize(Image.fromarray(pixels[4:60, 6:95]), Frame(32))
    assert np.array_equal(resize(Image.fromarray(pixels), Frame(32, 0.875)), expected)


@pytest.mark.parametrize("crop", [1.0, 0.9, 0.875, 0.3, 0.1])
@pytest.mark.parametrize("size", [8, 33, 160])
def test_a_whole_photo_is_the_smallest_that_is_not_resized(size: int, crop: float):
    frame = Frame(size, crop)
    side = frame.whole()
    assert frame.fits(side, side)
    assert frame.middle(Image.new("RGB", (side, side))).size == (size, size)
    assert not any(frame.fits(less, less) for less in range(1, side))
    assert side >= size
    assert crop < 1 or side == size


def test_a_share_of_a_whole_number_of_pixels_is_that_number():
    assert [Frame(8, 0.8).edge(side) for side in (10, 100, 1000)] == [1, 10, 100]


def test_pixels_of_is_decode_and_resize():
    image = Image.fromarray(picture(120, 75))
    assert np.array_equal(pixels_of(encoded(image), "x", Frame(32)), resize(image, Frame(32)))


@pytest.mark.parametrize(
    ("pixels", "low", "middle", "high"),
    [
        ("symmetric", -128 / 127.5, 0.0, 127 / 127.5),
        ("unit", 0.0, 128 / 255, 1.0),
        ("caffe", -115.0, 13.0, 140.0),
    ],
)
def test_normalise_maps_the_range(pixels, low, middle, high):
    values = np.array([0, 128, 255], np.uint8)
    found = normalise(values, Preprocessing.of(pixels, 160))
    assert found.dtype == np.float32
    assert np.allclose(found, [low, middle, high], rtol=0, atol=TOLERANCE["normalise"] * abs(high))


@pytest.mark.parametrize("pixels", MEAN_STD)
def test_normalise_keeps_the_shape_and_can_be_undone(pixels):
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    preprocessing = Preprocessing.of(pixels, 16)
    found = normalise(values, preprocessing)
    back = np.rint(found * preprocessing.std + preprocessing.mean)
    assert found.shape == values.shape
    assert np.array_equal(back.astype(np.uint8), values)
