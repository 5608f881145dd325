"""serve.py of a web bundle as its user starts it; 127.0.0.2 plays the phone."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

SECONDS = 20
PAGE = b"<!doctype html><title>a page</title>"

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere this machine has the one address 127.0.0.1"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "bundle"
    inside.mkdir()
    shutil.copy(str(files("toolchain.bundle") / "templates" / "web" / "serve.py"), inside)
    (inside / "index.html").write_bytes(PAGE)
    (tmp_path / "secret.txt").write_text("not of the bundle")
    return inside


@contextlib.contextmanager
def started(folder: Path, *options: str) -> Iterator[list[str]]:
    """serve.py at a free port; gives the addresses that it prints."""
    command = [sys.executable, str(folder / "serve.py"), "--port", "0", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            count = 2 if "--lan" in options else 1
            yield [server.stdout.readline().strip() for _ in range(count)]
        finally:
            server.terminate()
            server.wait(SECONDS)


def port_of(address: str) -> int:
    return int(address.rsplit(":", 1)[1])


def get(host: str, port: int, path: str = "") -> bytes:
    with urllib.request.urlopen(f"http://{host}:{port}/{path}", timeout=SECONDS) as answer:
        return answer.read()


def test_with_lan_other_machines_are_let_in_and_told_where(folder: Path) -> None:
    with started(folder, "--lan") as (own, lan):
        port = port_of(own)
        assert own == f"http://localhost:{port}"
        assert port_of(lan) == port
        assert "localhost" not in lan
        assert get("127.0.0.2", port) == get("127.0.0.1", port) == PAGE
        with pytest.raises(urllib.error.HTTPError) as refused:
            get("127.0.0.2", port, "%2e%2e/secret.txt")
        assert refused.value.code == 404


def test_without_it_this_machine_alone_is_served(folder: Path) -> None:
    with started(folder) as (own,):
        assert get("127.0.0.1", port_of(own)) == PAGE
        with pytest.raises(urllib.error.URLError, match="refused"):
            get("127.0.0.2", port_of(own))
