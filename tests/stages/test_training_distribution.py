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
from networks import recipe_of

from toolchain.errors import MachineError
from toolchain.training.weights import read_safetensors
from toolchain.training.workers import VARIABLE
from toolchain.values import TrainedModel

SCRIPT = Path(distributed_training.__file__)
TESTS = SCRIPT.parents[1]
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
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("distributed")


def on_devices(root: Path, network: str) -> dict[str, Path]:
    """What one device made of a network, and two."""
    folders = {name: root / f"{name} {network}" for name in ("one", "two")}
    started = {
        name: start(folder, count, network)
        for (name, folder), count in zip(folders.items(), (1, 2), strict=True)
    }
    return {name: ended(folders[name], process) for name, process in started.items()}


@pytest.fixture(scope="module")
def scratch(root: Path) -> dict[str, Path]:
    return on_devices(root, "scratch")


@pytest.fixture(scope="module")
def workers(root: Path) -> dict[str, Path]:
    """What two workers on the loopback address made of the same network."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    started = {}
    for index in range(2):
        task = {"type": "worker", "index": index}
        told = json.dumps({"cluster": {"worker": addresses}, "task": task})
        name = f"worker {index}"
        started[name] = start(root / name, 1, "scratch", **{VARIABLE: told})
    return {name: ended(root / name, process) for name, process in started.items()}


def weights(folder: Path, part: str = "train") -> dict[str, np.ndarray]:
    return read_safetensors(folder / part / "weights.safetensors")


def assert_alike(several: Path, one: Path) -> None:
    found, expected = weights(several), weights(one)
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_allclose(found[key], array, atol=TOLERANCE, rtol=0, err_msg=key)


def test_the_weights_are_those_of_one_device(scratch) -> None:
    assert_alike(scratch["two"] / "scratch", scratch["one"] / "scratch")


@pytest.mark.slow
@pytest.mark.parametrize("network", ["adam", "transfer"])
def test_two_devices_train_these_as_one_does(network: str, root: Path) -> None:
    outs = on_devices(root, network)
    assert_alike(outs["two"] / network, outs["one"] / network)


@pytest.mark.slow
def test_the_weights_of_workers_are_those_of_one_device(workers, scratch) -> None:
    assert_alike(workers["worker 0"] / "scratch", scratch["one"] / "scratch")


@pytest.mark.slow
def test_both_workers_end_alike_bit_for_bit(workers) -> None:
    first, second = (weights(workers[f"worker {index}"] / "scratch") for index in range(2))
    assert all(np.array_equal(second[key], array) for key, array in first.items())


@pytest.mark.slow
def test_a_worker_that_lost_what_it_kept_takes_the_firsts(workers) -> None:
    """It would wait for ever, or train alone, if both did not go on from one state."""
    folder = workers["worker 1"] / "scratch"
    before, after = weights(folder), weights(folder, "again")
    assert all(np.array_equal(after[key], array) for key, array in before.items())


@pytest.mark.slow
def test_a_worker_says_which_it_is(workers) -> None:
    assert "worker 1 of 2, 2 devices in all" in notes(workers["worker 1"])


def test_the_run_says_what_computed(scratch) -> None:
    assert "a copy of the network" not in notes(scratch["one"])
    assert "2 devices, a copy of the network on each" in notes(scratch["two"])


def notes(folder: Path) -> str:
    return " ".join(TrainedModel.load(folder / "scratch" / "train").notes)


def test_other_stages_wait_for_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """They compute on one device; a strategy would wait for ever for a worker that is not there."""
    from toolchain.training import device, distribution

    def asked() -> str:
        raise AssertionError("the workers were asked for")

    monkeypatch.setattr(device, "described", asked)
    assert device.configure(recipe_of(32)).startswith(("CPU", "1 GPU"))
    monkeypatch.setenv(VARIABLE, "two machines")
    with pytest.raises(MachineError, match="expected"):
        distribution.strategy.__wrapped__()
