"""kill -9 at random moments of training and quantization: the same command ends as if unbroken."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from command_line import settings

from toolchain.run import sha256_file

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("tensorflow") is None or find_spec("sklearn") is None,
        reason="needs the extra toolchain[train]",
    ),
    pytest.mark.timeout(3600),
]
KILLS = 20
SEED = 20_261_128
# Every phase, dropout, augmentation, mixup and the average of weights.
OPTIONS = settings(
    input__size=32,
    augment__mixup=0.2,
    model__head__dropout=0.3,
    train__epochs=8,
    train__ema=0.9,
    fine_tune__epochs=10,
    quantize__epochs=8,
    quantize__calibration_images=64,
)
WEIGHTS = ("train/weights.safetensors", "quantize/weights.safetensors")
EPOCH = re.compile(r"^(train|fine_tune|quantize) (\d+)/\d+ ")


def command(root: Path) -> list[str]:
    return [sys.executable, "-m", "toolchain", "quantize", "--runs", str(root), *OPTIONS]


def killed(root: Path, seconds: float, epochs: int) -> tuple[int, list[str]]:
    """Start the command and kill it so long after it has told of so many epochs, or after twice
    that time and what a start takes; its exit code and what it said."""
    process = subprocess.Popen(command(root), stderr=subprocess.PIPE, text=True)
    timers = [threading.Timer(30 + 2 * seconds, process.send_signal, [signal.SIGKILL])]
    timers[0].start()
    told: list[str] = []
    for line in process.stderr:
        told.append(line)
        if sum(bool(EPOCH.match(one)) for one in told) == epochs and len(timers) == 1:
            timers.append(threading.Timer(seconds, process.send_signal, [signal.SIGKILL]))
            timers[1].start()
    code = process.wait()
    for timer in timers:
        timer.cancel()
    return code, told


def epochs_in(told: list[str]) -> Iterator[tuple[str, int]]:
    for line in told:
        if found := EPOCH.match(line):
            yield found[1], int(found[2])


def history(path: Path) -> list[dict[str, object]]:
    records = json.loads(path.read_text())["history"]
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def test_killed_again_and_again_it_ends_in_the_same_weights(tmp_path: Path) -> None:
    whole, broken, moments = tmp_path / "whole", tmp_path / "broken", random.Random(SEED)
    started = time.monotonic()
    done = subprocess.run(command(whole), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seconds = (time.monotonic() - started) / 25
    kills, seen = 0, []
    while kills < KILLS:
        # Before the first epoch of a start, in it, or after one or two: at most as far as it takes.
        code, told = killed(broken, moments.uniform(0, 2 * seconds), moments.randrange(3))
        seen += epochs_in(told)
        if code == 0:
            break
        assert code == -signal.SIGKILL, "".join(told)
        kills += 1
    else:
        last = subprocess.run(command(broken), capture_output=True, text=True, check=False)
        assert last.returncode == 0, last.stderr
        seen += epochs_in(last.stderr.splitlines())
    assert kills == KILLS
    # An epoch that was told is never computed again.
    assert len(seen) == len(set(seen)) == 8 + 10 + 8
    for name in WEIGHTS:
        assert sha256_file(whole / "digits" / name) == sha256_file(broken / "digits" / name)
    for name in ("train/trained.json", "quantize/quantized.json"):
        assert history(whole / "digits" / name) == history(broken / "digits" / name)
    assert not list(broken.rglob("*.unfinished-*"))
