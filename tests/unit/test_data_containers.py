"""Folders and archives: the same photos from each, and nothing from an evil one."""

from __future__ import annotations

import errno
import io
import lzma
import os
import struct
import subprocess
import sys
import tarfile
import time
import warnings
import zipfile
import zlib
from pathlib import Path

import pytest
from photo_files import (
    TAR_MODES,
    add_member,
    class_folders,
    forbid,
    photo,
    write_folder,
    write_tar,
    write_zip,
)

from toolchain.data.access import random_access
from toolchain.data.containers import open_container
from toolchain.data.source import find_source, fingerprint, open_source
from toolchain.errors import DataError, ExitCode
from toolchain.images.decode import Unreadable
from toolchain.recipe import parse_recipe

FILES = class_folders()
KINDS = ("folder", ".zip", *TAR_MODES)


def container_of(kind: str, tmp_path: Path, files: dict[str, bytes] = FILES) -> Path:
    if kind == "folder":
        return write_folder(tmp_path / "photos", files)
    path = tmp_path / f"photos{kind}"
    return write_zip(path, files) if kind == ".zip" else write_tar(path, files)


def read_all(path: Path) -> dict[str, bytes]:
    container = open_container(path)
    names = {entry.name for entry in container.entries() if not entry.is_folder}
    return dict(container.read(names))


@pytest.mark.parametrize("kind", KINDS)
def test_every_container_gives_the_same_photos(kind: str, tmp_path: Path) -> None:
    path = container_of(kind, tmp_path)
    assert read_all(path) == FILES
    sizes = {e.name: e.bytes for e in open_container(path).entries() if not e.is_folder}
    assert sizes == {name: len(data) for name, data in FILES.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_wanted_is_read(kind: str, tmp_path: Path) -> None:
    container = open_container(container_of(kind, tmp_path))
    assert dict(container.read({"dog/1.png"})) == {"dog/1.png": FILES["dog/1.png"]}


def test_an_upper_case_suffix_is_an_archive_too(tmp_path: Path) -> None:
    assert read_all(write_zip(tmp_path / "PHOTOS.ZIP", FILES)) == FILES


@pytest.mark.parametrize("kind", [".zip", ".tar"])
def test_names_may_start_with_a_dot_and_a_slash(kind: str, tmp_path: Path) -> None:
    """`tar cf photos.tar .` names every member ./cat/1.png."""
    files = {f"./{name}": data for name, data in FILES.items()}
    assert read_all(container_of(kind, tmp_path, files)) == FILES


@pytest.mark.parametrize("kind", KINDS)
def test_the_fingerprint_notices_another_photo(kind: str, tmp_path: Path) -> None:
    path = container_of(kind, tmp_path)
    before = open_container(path).fingerprint()
    assert open_container(path).fingerprint() == before
    after = open_container(container_of(kind, tmp_path, FILES | {"cat/new.png": photo(7)}))
    assert after.fingerprint() != before


def test_links_in_a_folder_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(photo(1))
    folder = write_folder(tmp_path / "photos", FILES)
    (folder / "cat" / "link.png").symlink_to(secret)
    assert read_all(folder) == FILES


@pytest.mark.parametrize(
    ("name", "words"),
    [("no such folder", "found none"), ("notes.txt", "received a file")],
)
def test_what_is_no_container(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=words) as caught:
        open_container(tmp_path / name)
    assert name in caught.value.where


def tar_with(path: Path, name: str, **fields: object) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for good, data in FILES.items():
            add_member(archive, good, data)
        data = photo(9) if fields.get("type", tarfile.REGTYPE) == tarfile.REGTYPE else b""
        add_member(archive, name, data, **fields)
    return path


def tar_parent(folder: Path) -> Path:
    return tar_with(folder / "evil.tar", "cat/../../escaped.png")


def tar_absolute(folder: Path) -> Path:
    return tar_with(folder / "evil.tar", str(folder / "escaped.png"))


def tar_symlink(folder: Path) -> Path:
    return tar_with(folder / "evil.tar", "cat/x.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")


def tar_hardlink(folder: Path) -> Path:
    return tar_with(folder / "evil.tar", "cat/x.png", type=tarfile.LNKTYPE, linkname="cat/0.png")


def tar_device(folder: Path) -> Path:
    return tar_with(folder / "evil.tar", "cat/x.png", type=tarfile.CHRTYPE, devmajor=1, devminor=5)


def tar_fifo(folder: Path) -> Path:
    return tar_with(folder / "evil.tar", "cat/x.png", type=tarfile.FIFOTYPE)


def tar_backslash(folder: Path) -> Path:
    return tar_with(folder / "evil.tar", "..\\..\\escaped.png")


def tar_nul(folder: Path) -> Path:
    return tar_with(folder / "evil.tar", "x", pax_headers={"path": "cat/x.png\0.txt"})


def tar_drive(folder: Path) -> Path:
    return tar_with(folder / "evil.tar", "C:/photos/x.png")


def tar_truncated(folder: Path) -> Path:
    path = write_tar(folder / "evil.tar", FILES)
    path.write_bytes(path.read_bytes()[:2000])
    return path


def tar_xz_damaged(folder: Path) -> Path:
    path = write_tar(folder / "evil.tar.xz", FILES)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    return path


def tar_damaged_header(folder: Path) -> Path:
    """One bit of the fourth of six headers: those behind it would be lost."""
    path = write_tar(folder / "evil.tar", FILES)
    data = bytearray(path.read_bytes())
    data[data.index(b"dog/0.png")] ^= 1
    path.write_bytes(data)
    return path


def tar_cut_header(folder: Path) -> Path:
    path = write_tar(folder / "evil.tar", FILES)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"dog/0.png") + 100])
    return path


def tar_negative_folder(folder: Path) -> Path:
    return packed_tar(folder, [header("cat", -(2**70), tarfile.DIRTYPE)], 0)


def tar_negative_long_name(folder: Path) -> Path:
    headers = [header("././@LongLink", -512, tarfile.GNUTYPE_LONGNAME), *empty_files(3)]
    return packed_tar(folder, headers, 0)


def tar_negative_by_pax_header(folder: Path) -> Path:
    return tar_with(folder / "evil.tar", "cat", type=tarfile.DIRTYPE, pax_headers={"size": "-5"})


def tar_large_label(folder: Path) -> Path:
    """A label has no data; to pass over those of this one would take hours."""
    return packed_tar(folder, [header("label", 1 << 60, b"V")], 0)


def tar_xz_dictionary(folder: Path) -> Path:
    """Asks for 4 GiB of memory to unpack 10 KB."""
    path = write_tar(folder / "evil.tar.xz", FILES)
    data = bytearray(path.read_bytes())
    data[16] = 40
    data[20:24] = struct.pack("<L", zlib.crc32(data[12:20]))
    path.write_bytes(data)
    return path


def tar_xz_cut(folder: Path) -> Path:
    path = write_tar(folder / "evil.tar.xz", FILES)
    path.write_bytes(path.read_bytes()[:-2000])
    return path


def tar_garbage(folder: Path) -> Path:
    path = folder / "evil.tar"
    path.write_bytes(bytes(range(256)) * 40)
    return path


def tar_empty(folder: Path) -> Path:
    path = folder / "evil.tar"
    path.touch()
    return path


def tar_gz_bomb(folder: Path) -> Path:
    """64 MiB of zeros as one photo, 64 KB on disk."""
    path = folder / "evil.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        add_member(archive, "cat/x.png", bytes(64 << 20))
    return path


def tar_long_name(folder: Path) -> Path:
    """A name of 48 MiB, 50 KB on disk: tarfile would read it before anyone sees it."""
    return packed_tar(folder, [header("././@LongLink", 48 << 20, tarfile.GNUTYPE_LONGNAME)], 48)


def tar_long_pax_header(folder: Path) -> Path:
    return packed_tar(folder, [header("././@PaxHeader", 48 << 20, tarfile.XHDTYPE)], 48)


def tar_sparse(folder: Path) -> Path:
    return tar_with(folder / "evil.tar", "cat/x.png", type=tarfile.GNUTYPE_SPARSE)


def tar_sparse_by_pax_header(folder: Path) -> Path:
    """A regular file whose data begin with a map of a million holes."""
    path, data = folder / "evil.tar", b"1000000\n" + b"0\n" * 1000
    marks = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "cat/x.png"}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for good, photo_data in FILES.items():
            add_member(archive, good, photo_data)
        add_member(archive, "cat/x.png", data, pax_headers=marks)
    return path


def tar_of_headers(folder: Path) -> Path:
    """Empty files alone: 10 MiB of headers, a few KB on disk."""
    return packed_tar(folder, empty_files(20_000), 0)


def packed_tar(folder: Path, headers: list[bytes], mebibytes: int, name: str = "evil") -> Path:
    path, end = folder / f"{name}.tar.xz", header("x.txt", 0) + bytes(1024)
    with lzma.open(path, "wb", preset=0) as file:
        file.write(b"".join(headers))
        for _ in range(mebibytes):
            file.write(b"a" * (1 << 20))
        file.write(end)
    return path


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def empty_files(count: int) -> list[bytes]:
    return [header(f"x/{number % 200}.txt", 0) for number in range(count)]


def zip_parent(folder: Path) -> Path:
    return write_zip(folder / "evil.zip", FILES | {"../escaped.png": photo(9)})


def zip_absolute(folder: Path) -> Path:
    return write_zip(folder / "evil.zip", FILES | {str(folder / "escaped.png"): photo(9)})


def zip_backslash(folder: Path) -> Path:
    return write_zip(folder / "evil.zip", FILES | {"..\\escaped.png": photo(9)})


def zip_drive(folder: Path) -> Path:
    return write_zip(folder / "evil.zip", FILES | {"c:\\escaped.png": photo(9)})


def zip_symlink(folder: Path) -> Path:
    path = write_zip(folder / "evil.zip", FILES)
    link = zipfile.ZipInfo("cat/link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    return path


def zip_bomb(folder: Path) -> Path:
    return write_zip(folder / "evil.zip", FILES | {"cat/x.png": bytes(32 << 20)})


def zip_bzip2_bomb(folder: Path) -> Path:
    """Says that it unpacks to 1,000 bytes; zipfile would unpack all of it first."""
    path, size = folder / "evil.zip", 8 << 20
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("cat/x.png", bytes(size))
    claim = struct.pack("<L", 1000)
    path.write_bytes(path.read_bytes().replace(struct.pack("<L", size), claim))
    return path


def zip_truncated(folder: Path) -> Path:
    path = write_zip(folder / "evil.zip", FILES)
    path.write_bytes(path.read_bytes()[:-40])
    return path


def zip_damaged(folder: Path) -> Path:
    """The list of members is whole, the first member's bytes are not."""
    path = write_zip(folder / "evil.zip", FILES)
    data = bytearray(path.read_bytes())
    data[60:160] = bytes(100)
    path.write_bytes(data)
    return path


def zip_encrypted(folder: Path) -> Path:
    """Every member claims a password."""
    path = write_zip(folder / "evil.zip", FILES)
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = 0
        while (start := data.find(signature, start)) >= 0:
            data[start + offset] |= 1
            start += 4
    path.write_bytes(data)
    return path


def zip_garbage(folder: Path) -> Path:
    path = folder / "evil.zip"
    path.write_bytes(bytes(range(256)) * 40)
    return path


EVIL = [value for name, value in list(globals().items()) if name.startswith(("tar_", "zip_"))]
EVIL.remove(tar_with)
EVIL.remove(zip_damaged)  # one photo of it is bad, the others are not


@pytest.mark.parametrize("make", EVIL, ids=lambda make: make.__name__)
def test_an_evil_archive_is_refused_and_writes_nothing(make, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    path = make(folder)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError) as caught:
        read_all(path)
    assert caught.value.exit_code == ExitCode.INPUT
    assert str(path) in caught.value.where
    assert len(caught.value.lines()) == 3
    assert sorted(tmp_path.rglob("*")) == before


# Reads each archive that it is given; the highest resident memory of all of it, in KiB.
CHILD = """
import re, sys
from pathlib import Path
from toolchain.data.access import random_access
from toolchain.data.containers import open_container
from toolchain.data.source import find_source
from toolchain.errors import DataError
for name in sys.argv[1:]:
    try:
        container = open_container(Path(name))
        print(sum(len(data) for _, data in container.read({e.name for e in container.entries()})))
    except DataError as error:
        print(error.what)
print(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
"""
BOMBS = (tar_gz_bomb, zip_bomb, tar_long_name)


def test_memory_does_not_follow_what_archives_claim(tmp_path: Path) -> None:
    paths = []
    for make in BOMBS:
        (tmp_path / make.__name__).mkdir()
        paths.append(str(make(tmp_path / make.__name__)))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *paths], capture_output=True, text=True, check=True
    )
    *said, peak = done.stdout.splitlines()
    assert not any(line.isdecimal() for line in said), "all are refused"
    # Python and numpy alone take about 35 MiB; each bomb held 32 MiB and more.
    assert int(peak) / 1024 < 64


def test_time_grows_with_the_members_not_with_their_square(tmp_path: Path) -> None:
    """Headers that shrink well: unpacked by tarfile itself, they took five times as long."""
    packed = packed_tar(tmp_path, empty_files(10_000), 0)
    plain = tmp_path / "plain.tar"
    plain.write_bytes(lzma.decompress(packed.read_bytes()))
    seconds = {}
    for path in (plain, packed):
        started = time.process_time()
        assert len(open_container(path).entries()) == 201
        seconds[path] = time.process_time() - started
    assert seconds[packed] < 2.5 * seconds[plain]


@pytest.mark.parametrize("kind", [".zip", *TAR_MODES])
def test_of_members_of_one_name_the_last_counts(kind: str, tmp_path: Path) -> None:
    """As tar and unzip leave it: `tar -r` and `zip` append what was changed."""
    path, again = tmp_path / f"photos{kind}", {"cat/0.png": photo(77), "./dog/1.png": photo(78)}
    appended = [*FILES.items(), *again.items(), ("cat/0.png", photo(79))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns who writes such an archive
        (write_zip if kind == ".zip" else write_tar)(path, Repeating(appended))
    expected = FILES | {"cat/0.png": photo(79), "dog/1.png": photo(78)}
    assert read_all(path) == expected
    names = [entry.name for entry in open_container(path).entries()]
    assert sorted(names) == sorted(FILES)
    read = list(open_container(path).read(set(FILES)))
    assert sorted(read) == sorted(expected.items())


class Repeating(dict[str, bytes]):
    """Items of which some have the same key."""

    def __init__(self, pairs: list[tuple[str, bytes]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs

    def items(self) -> list[tuple[str, bytes]]:
        return self.pairs


@pytest.mark.parametrize("kind", [".zip", ".tar"])
def test_names_written_by_windows(kind: str, tmp_path: Path) -> None:
    files = {f"photos\\{name}".replace("/", "\\"): data for name, data in FILES.items()}
    folder = {"photos\\cat\\": b""} if kind == ".zip" else {}
    path = container_of(kind, tmp_path, files | folder)
    expected = {f"photos/{name}": data for name, data in FILES.items()}
    container = open_container(path)
    assert dict(container.read(expected.keys())) == expected
    listed = {entry.name: entry.is_folder for entry in container.entries()}
    assert listed == dict.fromkeys(expected, False) | ({"photos/cat": True} if folder else {})
    fetch = random_access(find_source(path))
    assert all(fetch(name) == data for name, data in expected.items())


@pytest.mark.parametrize("kind", [".zip", ".tar"])
def test_a_colon_makes_no_drive(kind: str, tmp_path: Path) -> None:
    files = {"a:b/1.png": photo(1), "c:1.png": photo(2), "1:2.png": photo(3)}
    assert read_all(container_of(kind, tmp_path, files)) == files


def test_the_label_of_a_tar_is_no_photo(tmp_path: Path) -> None:
    """As `tar --label="/photos of 2024"` writes it."""
    path = write_tar(tmp_path / "photos.tar", FILES)
    path.write_bytes(header("/photos of 2024", 0, b"V") + path.read_bytes())
    assert read_all(path) == FILES
    fetch = random_access(find_source(path))
    assert fetch("dog/1.png") == FILES["dog/1.png"]


def test_a_tar_without_an_end_is_whole(tmp_path: Path) -> None:
    """Some programs do not write the empty blocks that should follow."""
    path = write_tar(tmp_path / "photos.tar", FILES)
    data = path.read_bytes()
    end = data.index(b"dog/2.png") + 512 + -(-len(FILES["dog/2.png"]) // 512) * 512
    path.write_bytes(data[:end])
    assert read_all(path) == FILES


def test_an_xz_may_have_several_streams(tmp_path: Path) -> None:
    """As `pixz` and `cat` make it, with zeros between them."""
    data = write_tar(tmp_path / "photos.tar", FILES).read_bytes()
    path = tmp_path / "photos.tar.xz"
    path.write_bytes(lzma.compress(data[:1000]) + bytes(8) + lzma.compress(data[1000:]) + bytes(4))
    assert read_all(path) == FILES


@pytest.mark.parametrize("place", ["a" * 300, "~no such user/photos", "closed/photos"])
def test_a_place_that_cannot_be_looked_at(place: str, tmp_path: Path, monkeypatch) -> None:
    """Names of more than 255 bytes, users without a home, and folders closed to us."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOOLCHAIN_DATA", str(tmp_path))
    refuse(monkeypatch, "stat", lambda asked: asked.name == "photos" and "closed" in asked.parts)
    recipe = parse_recipe({"data": {"path": place}}, name="x")
    for look in (open_source, fingerprint):
        with pytest.raises(DataError, match=r"cannot be looked at|found none") as caught:
            look(recipe)
        assert caught.value.where == place


def test_a_backslash_in_a_folder_is_part_of_the_name(tmp_path: Path) -> None:
    files = {"cat/a\\b.png": photo(1), "dog/1.png": photo(2)}
    assert read_all(write_folder(tmp_path / "photos", files)) == files


def test_a_member_is_named_in_the_refusal(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="escaped") as caught:
        read_all(zip_parent(tmp_path))
    assert "leads outside" in caught.value.what


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_photo_that_cannot_be_read_hides_no_other(kind, tmp_path, monkeypatch) -> None:
    if kind == "folder":
        path = write_folder(tmp_path / "photos", FILES)
        forbid(monkeypatch, "cat/0.png")
    else:
        path = zip_damaged(tmp_path)
    read = read_all(path)
    bad = read.pop("cat/0.png")
    assert isinstance(bad, Unreadable)
    assert not bad
    assert bad.reason
    assert read == {name: data for name, data in FILES.items() if name != "cat/0.png"}


@pytest.mark.parametrize("closed", ["cat", "dog/deep", ""])
@pytest.mark.parametrize("call", ["scandir", "lstat"])
def test_a_folder_that_cannot_be_read_is_named(closed, call, tmp_path, monkeypatch) -> None:
    """Its photos would be missed by nobody. A folder may be listed and still hide its files."""
    path = write_folder(tmp_path / "photos", FILES | {"dog/deep/1.png": photo(50), "1.png": b""})
    folder = path / closed if closed else path
    refuse(monkeypatch, call, lambda asked: folder in (asked, asked.parent))
    for look in (read_all, find_source, lambda path: open_container(path).fingerprint()):
        with pytest.raises(DataError, match="the folder cannot be read: Permission") as caught:
            look(path)
        assert caught.value.where == str(folder)


def test_closed_folders_that_hold_no_photos_are_passed_over(tmp_path: Path, monkeypatch) -> None:
    others = ("lost+found", ".Trash-1000/files", "cat/.thumbs", "@eaDir")
    path = write_folder(tmp_path / "photos", FILES | {f"{name}/1.txt": b"" for name in others})
    refuse(monkeypatch, "scandir", lambda asked: str(asked.relative_to(path)) in others)
    assert FILES.items() <= read_all(path).items()


def test_a_file_that_is_gone_when_it_is_looked_at_is_no_file(tmp_path: Path, monkeypatch) -> None:
    path = write_folder(tmp_path / "photos", FILES)
    gone = FileNotFoundError(errno.ENOENT, "No such file or directory")
    refuse(monkeypatch, "lstat", lambda asked: asked.name == "1.png", gone)
    assert {entry.name for entry in open_container(path).entries() if not entry.is_folder} == {
        name for name in FILES if not name.endswith("1.png")
    }


def refuse(monkeypatch, call: str, whose, error: OSError | None = None) -> None:
    """`os.scandir` or `os.lstat` fails, whoever runs the tests: root may look everywhere."""
    real = getattr(os, call)

    def refusing(path, *rest, **more):
        if whose(Path(os.fspath(path))):
            raise error or PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return real(path, *rest, **more)

    monkeypatch.setattr(os, call, refusing)


def test_a_table_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch) -> None:
    path = write_folder(tmp_path / "photos", FILES | {"labels.csv": b"cat/0.png,cat\n"})
    forbid(monkeypatch, "labels.csv")
    with pytest.raises(DataError, match="the file cannot be read: Permission denied") as caught:
        find_source(path)
    assert caught.value.where == f"{path}/labels.csv"


def test_a_file_may_not_be_larger_than_an_image(tmp_path: Path, monkeypatch) -> None:
    """Reading stops one byte after the limit: that is how the decoder knows, and memory is safe."""
    for reader in ("toolchain.data.archives", "toolchain.images.decode"):
        monkeypatch.setattr(f"{reader}.MAX_BYTES", 1000)
    noise = io.BytesIO(bytes(photo(3, (60, 60))))
    for kind in KINDS:
        (tmp_path / kind).mkdir()
        path = container_of(kind, tmp_path / kind, {"cat/big.png": noise.getvalue()})
        assert len(read_all(path)["cat/big.png"]) == 1001
