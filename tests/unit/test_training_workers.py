"""Workers find each other before TensorFlow is asked; here on the loopback, without TensorFlow."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from toolchain.errors import MachineError
from toolchain.training.workers import Workers


def free_addresses(count: int) -> tuple[str, ...]:
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = tuple(f"127.0.0.1:{one.getsockname()[1]}" for one in taken)
    for one in taken:
        one.close()
    return addresses


def config(addresses: tuple[str, ...], index: int) -> str:
    task = {"type": "worker", "index": index}
    return json.dumps({"cluster": {"worker": addresses}, "task": task})


@pytest.mark.parametrize(
    "told",
    [
        "two machines",
        "[]",
        json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}),
        json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}),
        json.dumps({"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}),
        json.dumps({"cluster": {"worker": [1]}, "task": {"type": "worker", "index": 0}}),
    ],
)
def test_workers_that_cannot_be_are_told(told: str) -> None:
    with pytest.raises(MachineError, match="expected") as caught:
        Workers.of(told)
    assert len(str(caught.value).splitlines()) <= 3


def test_all_meet_though_one_comes_late_and_the_ports_are_free_then() -> None:
    addresses = free_addresses(3)

    def worker(index: int) -> None:
        time.sleep(0.2 * (index == 2))
        Workers.of(config(addresses, index)).wait(10)
        # What TensorFlow does next.
        socket.create_server(("127.0.0.1", int(addresses[index].rpartition(":")[2]))).close()

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(worker, range(3))) == [None] * 3


def test_who_does_not_answer_is_named() -> None:
    addresses = free_addresses(2)
    with pytest.raises(MachineError, match=f"no answer in 0 s from {addresses[1]}"):
        Workers(addresses, 0).wait(0.1)


def test_a_stranger_on_the_port_is_no_worker() -> None:
    addresses = free_addresses(2)
    there = socket.create_server(("127.0.0.1", int(addresses[1].rpartition(":")[2])))
    with there, pytest.raises(MachineError, match="no answer"):
        Workers(addresses, 0).wait(0.1)


def test_a_taken_port_is_told() -> None:
    addresses = free_addresses(2)
    there = socket.create_server(("127.0.0.1", int(addresses[0].rpartition(":")[2])))
    with there, pytest.raises(MachineError, match="cannot be used"):
        Workers(addresses, 0).wait(1)


def test_one_alone_waits_for_nobody() -> None:
    Workers.of(config(("a:1",), 0)).wait(0)


def test_it_can_be_interrupted() -> None:
    # A shell starts what is in the background with SIGINT ignored, and so are its children.
    script = (
        "import signal, sys; from toolchain.training.workers import Workers;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        "w = Workers.of(sys.argv[1]); print('waits', flush=True); w.wait();"
    )
    command = [sys.executable, "-c", script, config(free_addresses(2), 0)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=10)
        finally:
            process.kill()
    assert process.returncode in (-signal.SIGINT, 130)
    assert b"KeyboardInterrupt" in errors
