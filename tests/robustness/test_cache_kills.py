"""kill -9 at random moments while photos are decoded: the same command goes on where it was."""

from __future__ import annotations

import io
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from toolchain.data.stage import build_dataset
from toolchain.recipe import parse_recipe
from toolchain.values import Dataset

COUNT = 400
SIZE = 96
SEED = 20_240_607
MOST_ATTEMPTS = 60
LEAST_KILLS = 5
# A kill comes after so many more photos at most, and so many seconds at most.
MOST_PHOTOS = 30
LONGEST_WAIT = 0.01

_BUILD = """
import json, sys
from pathlib import Path
from toolchain.data.stage import build_dataset
from toolchain.recipe import parse_recipe

table, out, cache = json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
build_dataset(parse_recipe(table, name="photos"), out, cache)
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    noise = np.random.default_rng(SEED)
    for number in range(COUNT):
        small = noise.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(small).resize((640, 480)).save(buffer, "JPEG")
        path = folder / ("cat" if number % 2 else "dog") / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(buffer.getvalue())
    return folder


def lines_of(cache: Path, pattern: str) -> int:
    """Whole lines of the journal, 0 where there is none yet."""
    return sum(path.read_bytes().count(b"\n") for path in cache.glob(f"{pattern}/journal.txt"))


def wait_for(condition, process: subprocess.Popen[str]) -> None:
    while process.poll() is None and not condition():
        time.sleep(0.001)


@pytest.mark.parametrize("cache_gib", [1.0, 0.0], ids=["stored", "streamed"])
def test_killed_again_and_again_it_ends_with_the_same_pixels(cache_gib, photos, tmp_path):
    table = {"data": {"path": str(photos), "cache_gib": cache_gib}, "input": {"size": SIZE}}
    whole = tmp_path / "whole"
    whole.mkdir()
    expected = build_dataset(parse_recipe(table, name="photos"), whole)
    cache, moments = tmp_path / "cache", random.Random(SEED)
    kills, done = 0, 0
    for attempt in range(MOST_ATTEMPTS):
        out = tmp_path / f"out{attempt}"
        out.mkdir()
        process = subprocess.Popen(
            [sys.executable, "-c", _BUILD, json.dumps(table), str(out), str(cache)],
            stderr=subprocess.PIPE,
            text=True,
        )
        before = done
        enough = done + moments.randrange(MOST_PHOTOS)
        wait_for(lambda: lines_of(cache, "*.partial") > enough, process)  # noqa: B023
        if kills < 2 * LEAST_KILLS:
            time.sleep(moments.uniform(0, LONGEST_WAIT))
            process.send_signal(signal.SIGKILL)
        errors = process.communicate()[1]
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, errors
        kills += 1
        final = [path for path in cache.iterdir() if path.is_dir() and "." not in path.name]
        assert not final or lines_of(cache, final[0].name) == COUNT, "half a cache has its name"
        done = lines_of(cache, "*.partial") or done
        assert done >= before, "what was decoded is lost"
    assert process.returncode == 0, errors
    assert kills >= LEAST_KILLS
    # Once each, over all the attempts: nothing that was finished was decoded again.
    assert lines_of(cache, "*") == COUNT
    assert not list(cache.glob("*.partial"))
    assert Dataset.load(out).sha256 == expected.sha256
    if cache_gib:
        assert (out / "pixels.npy").read_bytes() == (whole / "pixels.npy").read_bytes()
