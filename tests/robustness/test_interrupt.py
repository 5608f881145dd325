"""Ctrl-C in the middle of training: an exit code, what to type, and nothing half-made."""

from __future__ import annotations

import json
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
from safetensors import safe_open

from toolchain.errors import ExitCode

pytestmark = pytest.mark.skipif(
    find_spec("tensorflow") is None or find_spec("sklearn") is None,
    reason="needs the extra toolchain[train]",
)
SECONDS_TO_START = 240
# A step and the end of the process: 0.1 s on an idle machine.
SECONDS_TO_STOP = 2
SECONDS_TO_WAIT = 30


@pytest.fixture
def _ctrl_c_is_heard() -> Iterator[None]:
    """Tests started in the background inherit an ignored Ctrl-C, a user's terminal does not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c_is_heard")
def test_ctrl_c_in_training(tmp_path: Path) -> None:
    options = settings(model__weights="none", model__alpha=0.35, input__size=32, train__epochs=1000)
    process = subprocess.Popen(
        [sys.executable, "-m", "toolchain", "train", "--runs", str(tmp_path), *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(SECONDS_TO_START, process.kill)
    watchdog.start()
    try:
        told = []
        for line in process.stderr:
            told.append(line)
            # The first epoch is over: the second is on its way.
            if line.startswith("train 1/1000"):
                process.send_signal(signal.SIGINT)
                break
        asked = time.monotonic()
        rest = process.communicate(timeout=SECONDS_TO_WAIT)[1]
        took = time.monotonic() - asked
    finally:
        watchdog.cancel()
        process.kill()
    assert process.returncode == ExitCode.INTERRUPTED, "".join(told) + rest
    assert "Traceback" not in rest
    assert took <= SECONDS_TO_STOP
    folder = tmp_path / "digits"
    assert (folder / "data" / "manifest.json").is_file()
    assert not (folder / "train").exists()
    said = re.search(r"^interrupted: train after epoch (\d+) of 1000 is kept$", rest, re.MULTILINE)
    assert said is not None, rest
    assert rest[said.end() :].split("\n")[1:] == [
        f"  {folder}",
        "  the same command goes on from there",
        "",
    ]
    (kept,) = folder.glob(".train.unfinished-*/train.safetensors")
    with safe_open(kept, "numpy") as checkpoint:
        progress = json.loads(checkpoint.metadata()["progress"])
        assert all(checkpoint.get_tensor(name).size for name in checkpoint.keys())  # noqa: SIM118
    assert [record["epoch"] for record in progress["history"]] == [
        *range(1, int(said.group(1)) + 1)
    ]
    assert [path.name for path in folder.iterdir() if ".tmp-" in path.name] == []
