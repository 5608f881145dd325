"""Ten times the photos: training has no more in memory."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs the extra toolchain[train]"),
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc"),
]
# Pixels of 40 MiB, and features of both phases of 36 MiB, are what the many photos have more.
COUNTS = (600, 6_600)
GROWTH_MIB = 12.0

_TRAIN = """
import re, sys
from pathlib import Path

import numpy as np

from toolchain.images.stored import write_header
from toolchain.recipe import parse_recipe
from toolchain.training.stage import train_model
from toolchain.values import Dataset

count, folder = int(sys.argv[1]), Path(sys.argv[2])
start, random = write_header(folder / "pixels.npy", count, 48), np.random.default_rng(0)
with (folder / "pixels.npy").open("r+b") as file:
    file.seek(start)
    for _ in range(count):
        file.write(random.bytes(48 * 48 * 3))
splits = ["validation" if place % 4 == 0 else "train" for place in range(count)]
labels = np.arange(count) % 10
dataset = Dataset(folder, tuple("0123456789"), 48, (), labels, splits, ())
recipe = parse_recipe(
    {
        "data": {"path": "."},
        "input": {"size": 48},
        "model": {"weights": "embedded"},
        "train": {"epochs": 1},
        "fine_tune": {"epochs": 1, "start": "block_13"},
    },
    name="memory",
)
trained = train_model(dataset, recipe, folder)
assert sum("computed once" in note for note in trained.notes) == 2
peak = re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]
print(int(peak) / 1024)
"""


def test_memory_of_training_does_not_grow_with_the_photos(tmp_path: Path) -> None:
    peaks = []
    for count in COUNTS:
        (folder := tmp_path / str(count)).mkdir()
        command = [sys.executable, "-c", _TRAIN, str(count), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        peaks.append(float(done.stdout))
    assert peaks[1] - peaks[0] < GROWTH_MIB
