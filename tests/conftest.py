"""What all tests share: no network beyond this machine, and real data only when it is there."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# The same examples on every machine and in every run; a found case becomes a plain test.
settings.register_profile(
    "fixed",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("fixed")


def _data_folder() -> Path | None:
    named = os.environ.get("TOOLCHAIN_DATA")
    return Path(named) if named else None


# What takes longest comes first, so that no process is left with it at the end. The first of them
# makes the run of the digits, for which the others that read it would only wait.
_FIRST = ("test_chain.py", "test_real.py", "test_data_real.py", "test_interrupt.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(_FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
    if _data_folder() is not None:
        return
    skip = pytest.mark.skip(reason="TOOLCHAIN_DATA is not set: no datasets/ and weights/ here")
    for item in items:
        if item.get_closest_marker("real"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def toolchain_data() -> Path:
    """The folder that holds datasets/ and weights/; for tests marked `real`."""
    folder = _data_folder()
    if folder is None:
        pytest.skip("TOOLCHAIN_DATA is not set")
    return folder


def is_local(address: Any) -> bool:
    """Whether a socket address is this machine: a path, or a loopback host."""
    if not isinstance(address, tuple):
        return True
    try:
        return address[0] in ("", "localhost") or ipaddress.ip_address(address[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tests must pass on a machine without a network: connecting beyond loopback fails them."""
    for name in ("connect", "connect_ex"):
        real = getattr(socket.socket, name)

        def guarded(self: socket.socket, address: Any, real: Any = real) -> Any:
            if not is_local(address):
                pytest.fail(f"a test connected to {address!r}; only loopback is allowed")
            return real(self, address)

        monkeypatch.setattr(socket.socket, name, guarded)
    yield
