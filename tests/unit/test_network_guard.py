"""The guard of conftest.py: tests reach this machine and nothing else."""

from __future__ import annotations

import socket

import pytest


def test_connecting_beyond_loopback_fails_the_test():
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe,
        pytest.raises(pytest.fail.Exception, match="only loopback"),
    ):
        probe.connect(("192.0.2.1", 9))


def test_loopback_is_reached():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=5) as client,
    ):
        client.sendall(b"x")
        connection, _ = server.accept()
        with connection:
            assert connection.recv(1) == b"x"
