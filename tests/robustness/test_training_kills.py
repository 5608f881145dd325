"""kill -9 at random moments of training and quantization: the same command ends as if unbroken."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from command_line import settings

from toolchain.files import sha256_file

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("tensorflow") is None or find_spec("sklearn") is None,
        reason="needs the extra toolchain[train]",
    ),
    pytest.mark.timeout(3600),
]
SEED = 20_261_128
# Seconds after what is waited for, and for a start on a slow machine.
LONGEST_WAIT = 3.0
MOST_SECONDS = 240.0
EPOCHS = {"train": 8, "fine_tune": 10, "quantize": 8}
# Every phase to its last epoch, dropout and the average of weights.
OPTIONS = settings(
    input__size=32,
    train__patience=max(EPOCHS.values()),
    model__head__dropout=0.3,
    train__epochs=EPOCHS["train"],
    train__ema=0.9,
    fine_tune__epochs=EPOCHS["fine_tune"],
    quantize__epochs=EPOCHS["quantize"],
    quantize__calibration_images=64,
)
# Each way of training: how often it is killed, and its settings. Each photo is changed every epoch,
# by mixup too; or both phases are trained on features, of two views of each photo.
WAYS = {
    "photos": (20, settings(augment__mixup=0.2)),
    "features": (6, settings(train__feature_views=2, fine_tune__feature_views=2)),
}
WEIGHTS = ("train/weights.safetensors", "quantize/weights.safetensors")
EPOCH = re.compile(r"^(train|fine_tune|quantize) (\d+)/\d+ ")


def command(root: Path, way: list[str]) -> list[str]:
    return [sys.executable, "-m", "toolchain", "quantize", "--runs", str(root), *OPTIONS, *way]


def killed(root: Path, way: list[str], seconds: float, epochs: int) -> tuple[int, list[str]]:
    """Start the command and kill it so long after it has told of so many epochs, or of its start.

    Returns:
      Its exit code, 0 where it was done before; what it said.
    """
    process = subprocess.Popen(command(root, way), stderr=subprocess.PIPE, text=True)
    timers = [threading.Timer(MOST_SECONDS, process.kill)]
    timers[0].start()
    told: list[str] = []
    for line in process.stderr:
        told.append(line)
        if len(timers) == 1 and sum(bool(EPOCH.match(one)) for one in told) == epochs:
            timers.append(threading.Timer(seconds, process.kill))
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


def finish(root: Path, way: list[str]) -> list[str]:
    done = subprocess.run(command(root, way), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()


def check(whole: Path, broken: Path, seen: list[tuple[str, int]]) -> None:
    # An epoch that was told is never computed again.
    assert len(seen) == len(set(seen)) == sum(EPOCHS.values())
    for name in WEIGHTS:
        assert sha256_file(whole / "digits" / name) == sha256_file(broken / "digits" / name)
    for name in ("train/trained.json", "quantize/quantized.json"):
        assert history(whole / "digits" / name) == history(broken / "digits" / name)
    assert not list(broken.rglob("*.unfinished-*"))


@pytest.mark.parametrize(("most", "way"), WAYS.values(), ids=WAYS)
def test_killed_again_and_again_it_ends_in_the_same_weights(
    most: int, way: list[str], tmp_path: Path
) -> None:
    whole, moments = tmp_path / "whole", random.Random(SEED)
    finish(whole, way)
    kills: dict[str, int] = {}
    broken, seen = tmp_path / "0", []
    while sum(kills.values()) < most:
        # While it starts, or in one of the epochs after the first or second that it tells of.
        code, told = killed(broken, way, moments.uniform(0, LONGEST_WAIT), moments.randrange(3))
        seen += epochs_in(told)
        if code == 0:
            check(whole, broken, seen)
            broken, seen = tmp_path / str(sum(kills.values())), []
            continue
        assert code == -signal.SIGKILL, "".join(told)
        phase = seen[-1][0] if seen else "start"
        kills[phase] = kills.get(phase, 0) + 1
    seen += epochs_in(finish(broken, way))
    check(whole, broken, seen)
    print("kills by the last epoch that was told:", kills)  # noqa: T201 - with pytest -s
