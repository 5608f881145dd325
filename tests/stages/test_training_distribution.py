"""Training on two devices and in two processes ends where training on one does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import distributed_training
import numpy as np
import pytest

from toolchain.training.distribution import VARIABLE
from toolchain.training.weights import read_safetensors
from toolchain.values import TrainedModel

SCRIPT = Path(distributed_training.__file__)
TESTS = SCRIPT.parents[1]
NETWORKS = ("scratch", "transfer")
# Each process costs seconds: what workers do on features is what devices do on them.
OF_WORKERS = "scratch"
# Sums of float32 in another order, through seven steps.
TOLERANCE = 2e-5
SECONDS = 240


def start(out: Path, devices: int, *networks: str, **environment: str) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join(map(str, (TESTS.parent, TESTS, SCRIPT.parent)))
    with (out.parent / f"{out.name}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), str(out), str(devices), *networks],
            env=os.environ | {"PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": "-1"} | environment,
            stdout=log,
            stderr=log,
        )


def ended(out: Path, process: subprocess.Popen[bytes]) -> Path:
    try:
        code = process.wait(SECONDS)
    finally:
        process.kill()
        process.wait()
    assert code == 0, (out.parent / f"{out.name}.log").read_text()[-3000:]
    return out


def free_ports(count: int) -> list[int]:
    taken = [socket.socket() for _ in range(count)]
    for one in taken:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports


@pytest.fixture(scope="module")
def outs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What one device made, two devices, and two workers on the loopback address."""
    root = tmp_path_factory.mktemp("distributed")
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    started = {
        name: start(root / name, count, *NETWORKS) for name, count in (("one", 1), ("two", 2))
    }
    for index in range(2):
        task = {"type": "worker", "index": index}
        told = json.dumps({"cluster": {"worker": workers}, "task": task})
        started[f"worker {index}"] = start(
            root / f"worker {index}", 1, OF_WORKERS, **{VARIABLE: told}
        )
    return {name: ended(root / name, process) for name, process in started.items()}


def weights(folder: Path, part: str = "train") -> dict[str, np.ndarray]:
    return read_safetensors(folder / part / "weights.safetensors")


@pytest.mark.parametrize(
    ("name", "network"), [*(("two", network) for network in NETWORKS), ("worker 0", OF_WORKERS)]
)
def test_the_weights_are_those_of_one_device(outs, name: str, network: str) -> None:
    one, several = (weights(outs[which] / network) for which in ("one", name))
    assert one.keys() == several.keys()
    for key, array in one.items():
        np.testing.assert_allclose(several[key], array, atol=TOLERANCE, rtol=0, err_msg=key)


def test_both_workers_end_alike_bit_for_bit(outs) -> None:
    first, second = (weights(outs[f"worker {index}"] / OF_WORKERS) for index in range(2))
    assert all(np.array_equal(second[key], array) for key, array in first.items())


def test_a_worker_that_lost_what_it_kept_takes_the_firsts(outs) -> None:
    """It would wait for ever, or train alone, if both did not go on from one state."""
    folder = outs["worker 1"] / OF_WORKERS
    before, after = weights(folder), weights(folder, "again")
    assert all(np.array_equal(after[key], array) for key, array in before.items())


def test_the_run_says_what_computed(outs) -> None:
    notes = {name: " ".join(trained(folder).notes) for name, folder in outs.items()}
    assert "a copy of the network" not in notes["one"]
    assert "2 devices, a copy of the network on each" in notes["two"]
    assert "worker 1 of 2, 2 devices in all" in notes["worker 1"]


def trained(folder: Path) -> TrainedModel:
    return TrainedModel.load(folder / "scratch" / "train")


@pytest.mark.parametrize(
    "told",
    [
        "two machines",
        "[]",
        json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}),
        json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}),
    ],
)
def test_workers_that_cannot_be_are_told(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from toolchain.errors import MachineError
    from toolchain.training import distribution

    monkeypatch.setenv(VARIABLE, told)
    with pytest.raises(MachineError, match="expected") as caught:
        distribution.strategy.__wrapped__()
    assert len(str(caught.value).splitlines()) <= 3
