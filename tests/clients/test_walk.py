"""docs/deploy-*.md walked: every command as it stands there, from `make` to an answer.

Two are stand-ins. `make` looks whether the targets exist, since the chain has tests of its own, and
leaves the run of a tiny network. `pip` looks whether what is asked for is what is installed here.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import free_port, our_answers
from test_phone_benchmark import Stand

import toolchain
from toolchain.run import Run

CLONE = Path(toolchain.__file__).parents[1]
DOCS = CLONE / "docs"
SECONDS = 60
# Commands that re-make a figure of the page; they are no part of the way.
MEASURING = "python benchmarks/"
PROGRAMS = ("make", ".venv/bin/", "cd", "python", "curl", "openssl", "adb")
STAND_INS = {
    "bin/make": 'exec {make} --dry-run --directory={clone} "$@" > /dev/null',
    "bin/python3": '[ "$1 $2" = "-m venv" ] && exec cp -r {venv} "$3"; exec {python} "$@"',
    "venv/bin/python": 'exec {python} "$@"',
    "venv/bin/uvicorn": 'exec {python} -m uvicorn "$@"',
    "venv/bin/pip": '[ "$1 $2" = "install -r" ] && exec {python} -c \'{check}\' "$3"',
    "clone/.venv/bin/toolchain": 'exec {python} -m toolchain "$@"',
}
CHECK = """\
import sys
from importlib.metadata import version
from pathlib import Path
from packaging.requirements import Requirement

for line in Path(sys.argv[1]).read_text().splitlines():
    if line and not line.startswith("#"):
        asked = Requirement(line)
        assert asked.specifier.contains(version(asked.name)), line
"""

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="not a checkout: docs/ is not installed")


def commands(kind: str) -> list[str]:
    """The page's command lines in their order."""
    text = (DOCS / f"deploy-{kind}.md").read_text(encoding="utf-8")
    lines = re.findall(r"^ {4,}(\S.*)$", text, re.MULTILINE)
    return [line for line in lines if line.startswith(PROGRAMS) and not line.startswith(MEASURING)]


class Walker:
    """A newcomer's shell: where they are, and what they find on the PATH."""

    def __init__(self, folder: Path, run: Run) -> None:
        self.home = folder
        self.here = folder / "clone"
        values = {
            "make": shutil.which("make"),
            "clone": CLONE,
            "python": sys.executable,
            "venv": folder / "venv",
            "check": CHECK,
        }
        for name, script in STAND_INS.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#!/bin/bash\n{script.format(**values)}\n")
            path.chmod(0o755)
        shutil.copytree(
            run.folder, self.here / "runs" / "digits", ignore=shutil.ignore_patterns("bundle")
        )

    def run(self, command: str) -> str:
        """What the command prints; it must succeed."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.here,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextlib.contextmanager
    def serving(self, command: str) -> Iterator[subprocess.Popen[str]]:
        """The command as a server, until the end."""
        with subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=self.here,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as server:
            try:
                yield server
            finally:
                server.terminate()
                server.wait(SECONDS)

    def bundle(self, kind: str) -> Path:
        return self.here / "runs" / "digits" / "bundle" / kind / f"digits-{kind}"

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.home / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.home),
            "PYTHONPATH": str(CLONE),
        }


@pytest.fixture
def walker(tmp_path: Path, tiny_run: Run) -> Walker:
    return Walker(tmp_path, tiny_run)


def start(walker: Walker, kind: str) -> list[str]:
    """The first two commands, which every page begins with; returns the others."""
    chain, bundling, *others = commands(kind)
    assert chain == "make train export verify"
    walker.run(chain)
    walker.run(bundling)
    made = walker.bundle(kind)
    # What files of the tiny network say that they are called.
    made.with_name(f"tiny-{kind}").rename(made)
    return others


def answered(url: str) -> bytes:
    """What the server says, once it is up; a certificate of its own is trusted."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=SECONDS, context=trusting) as answer:
                return answer.read()
        except OSError:
            assert time.monotonic() < deadline, url
            time.sleep(0.05)


@pytest.mark.parametrize("kind", ["android", "ios"])
def test_an_app_finds_the_files_that_the_page_names(kind: str, walker: Walker) -> None:
    others = start(walker, kind)
    names = {path.name for path in walker.bundle(kind).iterdir()}
    assert {path.name for path in walker.bundle(kind).glob("*.tflite")}
    page = (DOCS / f"deploy-{kind}.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(\w+\.(?:kt|swift))`", page)) <= names
    for command in others:
        (walker.home / "phone").mkdir()
        stand = Stand(walker.home / "phone", walker.bundle(kind))
        (stand.folder / "benchmark_model").rename(stand.folder / "android_aarch64_benchmark_model")
        assert command.startswith("python3 benchmark_on_phone.py ")
        done = stand.run(*command.split()[2:])
        assert done.returncode == 0, done.stderr
        assert (stand.folder / "phone.log").is_file()


def test_a_server_answers(walker: Walker, photos: Path) -> None:
    pytest.importorskip("uvicorn")
    enter, install, ask, serve, post = start(walker, "server")
    shutil.copytree(walker.bundle("server"), walker.home / "digits-server")
    walker.here = walker.home
    walker.run(enter)
    walker.here = walker.home / enter.split()[1]
    shutil.copy(photos / "photo-00.jpg", walker.here / "photo.jpg")
    shutil.copytree(photos, walker.here / "photos")
    walker.run(install)
    printed = walker.run(ask).splitlines()
    (model,) = walker.here.glob("*.onnx")
    ours = our_answers(model, photos)
    assert len(printed) == 1 + len(ours.paths)
    assert {line.count("\t") for line in printed} == {3}
    port = str(free_port())
    with walker.serving(serve.replace("8000", port)):
        answered(f"http://127.0.0.1:{port}/health")
        top = json.loads(walker.run(post.replace("8000", port)))["top"]
    best = ours.probabilities[ours.paths.index(photos / "photo-00.jpg")].max()
    assert printed[0].split("\t")[1].rsplit(" ", 1)[0] == top[0]["label"]
    assert top[0]["probability"] == pytest.approx(float(best), abs=1e-5)


def test_a_browser_is_served(walker: Walker, unpacked) -> None:
    chain, _, plain, lan, certificate, secure = commands("web")
    walker.run(chain)
    # Made once for all tests: npm's packages are large.
    shutil.copytree(unpacked("web").folder, walker.bundle("web"))
    for command in (plain, lan):
        assert b"<html" in page_of(walker, command)
    walker.here = walker.bundle("web")
    walker.run(certificate)
    assert b"<html" in page_of(walker, secure)


def page_of(walker: Walker, command: str) -> bytes:
    """What a browser on this machine gets from the server that the command starts."""
    with walker.serving(f"{command} --port 0") as server:
        address = server.stdout.readline().strip()
        assert address.startswith("https" if "--cert" in command else "http:")
        return answered(address)
