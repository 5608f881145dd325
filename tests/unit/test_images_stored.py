"""Pixels read from a file: indexed like an array, bounded in memory, never more than the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from toolchain.images.stored import StoredPixels, write_header

# Anonymous memory and mapped pages that reading may add, whatever the size of the file.
GROWTH_MIB = 48


@pytest.fixture
def array() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)


@pytest.fixture
def path(tmp_path: Path, array: np.ndarray) -> Path:
    np.save(tmp_path / "pixels.npy", array)
    return tmp_path / "pixels.npy"


@pytest.mark.parametrize(
    "index",
    [
        0,
        -1,
        np.int64(7),
        slice(None),
        slice(3, 9),
        slice(15, 99),
        slice(0, 0),
        slice(None, None, -3),
        np.array([5, 5, 0, 19]),
        np.array([], np.int64),
    ],
    ids=str,
)
def test_it_is_indexed_as_an_array_is(index, path, array):
    found = StoredPixels(path)[index]
    assert found.dtype == np.uint8
    assert np.array_equal(found, array[index])
    rows = np.array([3, 1, 4, 1, 5] * 4)
    assert np.array_equal(StoredPixels(path, rows)[index], array[rows][index])
    assert np.array_equal(StoredPixels(path).view(rows)[index], array[rows][index])


@pytest.mark.parametrize("index", [20, -21, np.array([0, 20])], ids=str)
def test_what_lies_outside_is_an_index_error(index, path):
    with pytest.raises(IndexError):
        StoredPixels(path)[index]


def test_it_is_iterated_once(path, array):
    assert len(list(StoredPixels(path))) == len(array)
    assert np.array_equal(np.asarray(StoredPixels(path)), array)


@pytest.mark.parametrize("damage", ["short", "no header", "empty", "floats", "flat"])
def test_another_file_is_refused(damage, path, array):
    if damage == "short":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "no header":
        path.write_bytes(b"PNG" * 100)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "floats":
        np.save(path, array.astype(np.float32))
    else:
        np.save(path, array.reshape(20, 48))
    with pytest.raises(ValueError):
        StoredPixels(path)


def test_a_new_file_is_one_that_numpy_reads(tmp_path):
    path = tmp_path / "new.npy"
    start = write_header(path, 6, 5)
    with path.open("r+b") as file:
        file.seek(start + 2 * 75)
        file.write(bytes(range(75)))
    read = np.load(path, allow_pickle=False)
    assert read.shape == (6, 5, 5, 3)
    assert read[2].tobytes() == bytes(range(75))
    assert not read[[0, 1, 3, 4, 5]].any()


_READ_ALL = """
import sys
import numpy as np
from toolchain.images.stored import StoredPixels

def resident():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024

pixels = StoredPixels(__import__("pathlib").Path(sys.argv[1]))
pixels[np.arange(32)]
before = resident()
order = np.random.default_rng(0).permutation(len(pixels))
for start in range(0, len(order), 32):
    pixels[order[start : start + 32]]
print(resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_reading_all_of_a_large_file_stays_small(tmp_path):
    path = tmp_path / "large.npy"
    write_header(path, 4000, 160)
    mib = path.stat().st_size / 2**20
    # Written, since the pages of a hole are one page.
    with path.open("r+b") as file:
        file.seek(128)
        for _ in range(4000):
            file.write(b"\x07" * (160 * 160 * 3))
    result = subprocess.run(
        [sys.executable, "-c", _READ_ALL, str(path)], capture_output=True, text=True, check=True
    )
    assert float(result.stdout) < GROWTH_MIB < mib / 4
