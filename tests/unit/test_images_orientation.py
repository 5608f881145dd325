"""Pictures stored turned: upright as Pillow turns them, whatever else stands in their EXIF."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps, PngImagePlugin

from toolchain.images.decode import open_rgb, to_array
from toolchain.images.header import read_header

ORIENTATIONS = range(1, 9)
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description '
    'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{}"/></rdf:RDF></x:xmpmeta>'
)
# Tag, type and value of what no camera should write and some do.
ODD = {
    "a large number for a small one": (0x0128, 4, struct.pack("<I", 70_000)),
    "a negative number": (0x0102, 8, struct.pack("<hxx", -1)),
    "a fraction for a whole number": (0x0128, 11, struct.pack("<f", 2.5)),
    "a negative resolution": (0x011A, 10, struct.pack("<ii", -72, 1)),
    "a ratio for the maker": (0x010F, 5, struct.pack("<II", 1, 3)),
    "a number for the date": (0x0132, 12, struct.pack("<d", 0.5)),
}


def picture(mode="RGB"):
    """Other pixels at every place, in all modes that can be."""
    pixels = np.random.default_rng(4).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    image = Image.fromarray(pixels)
    return image.quantize(16) if mode == "P" else image.convert(mode)


def saved(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def block(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def stored(place, orientation):
    """A picture whose orientation stands at this place of its file."""
    where, form = place.split(" in ")
    info, options = PngImagePlugin.PngInfo(), {"lossless": True} if form == "WEBP" else {}
    if where == "exif":
        options["exif"] = block(orientation)
    elif where == "raw profile":
        raw = block(orientation)
        info.add_text("Raw profile type exif", f"\nexif\n{len(raw):8}\n{raw.hex()}\n", zip=True)
    elif form == "PNG":
        info.add_itxt("XML:com.adobe.xmp", XMP.format(orientation))
    else:
        options["xmp"] = XMP.format(orientation).encode()
    return saved(picture(), form, **options, **({"pnginfo": info} if form == "PNG" else {}))


PLACES = [f"{where} in {form}" for where in ("exif", "xmp") for form in ("JPEG", "PNG", "WEBP")]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("place", [*PLACES, "raw profile in PNG"])
def test_a_picture_is_turned_as_pillow_turns_it(place, orientation):
    data = stored(place, orientation)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert np.array_equal(to_array(open_rgb(data, "x")), np.asarray(expected))
    assert read_header(data).orientation == orientation
    turned = not np.array_equal(np.asarray(expected), np.asarray(Image.open(io.BytesIO(data))))
    assert turned == (orientation != 1)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "I;16", "1"])
def test_pictures_of_every_mode_are_turned_alike(mode, orientation):
    options = {"transparency": 3} if mode == "P" else {}
    data = saved(picture(mode), "PNG", exif=block(orientation), **options)
    upright = saved(ImageOps.exif_transpose(Image.open(io.BytesIO(data))), "PNG", **options)
    assert read_header(upright).orientation == 1
    assert np.array_equal(to_array(open_rgb(data, "x")), to_array(open_rgb(upright, "x")))


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_sound_photo_of_an_odd_exif_is_turned(form, odd):
    """Writing the block again raised struct.error and AttributeError; nothing needs it written."""
    tag, kind, value = ODD[odd]
    entries = {0x0112: struct.pack("<HHIHxx", 0x0112, 3, 1, 6)}
    data_at = 8 + 2 + 2 * 12 + 4
    short = len(value) <= 4
    entries[tag] = struct.pack("<HHI", tag, kind, 1) + (
        value if short else struct.pack("<I", data_at)
    )
    body = b"".join(entries[key] for key in sorted(entries))
    tiff = b"II*\0" + struct.pack("<IH", 8, 2) + body + bytes(4) + (b"" if short else value)
    options = {"lossless": True} if form == "WEBP" else {}
    data = saved(picture(), form, exif=b"Exif\0\0" + tiff, **options)
    stored_as = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(to_array(open_rgb(data, "x")), np.rot90(stored_as, -1))


def test_a_header_is_read_without_the_pixels(monkeypatch):
    """Pillow's getexif decoded a PNG of any size: 676 MB for one that is refused as too large."""

    def load(_):
        raise AssertionError("the pixels were decoded")

    plain = saved(picture(), "PNG")
    turned = [stored(place, 6) for place in (*PLACES, "raw profile in PNG")]
    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    assert read_header(plain).orientation == 1
    assert [read_header(data).orientation for data in turned] == [6] * 7


def test_a_transparent_grey_of_16_bits_is_no_alpha():
    """The decoder does not heed it, so the audit does not say that it is laid on white."""
    image = picture("I;16")
    clear = int(np.asarray(image)[0, 0])
    data = saved(image, "PNG", transparency=clear)
    assert Image.open(io.BytesIO(data)).info["transparency"] == clear
    assert np.array_equal(to_array(open_rgb(data, "x"))[..., 0], np.asarray(image) >> 8)
    assert (read_header(data).bits, read_header(data).alpha) == (16, False)
    assert read_header(saved(picture("L"), "PNG", transparency=0)).alpha
