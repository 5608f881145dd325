"""What is taken from npm: pinned, checked, and told plainly when it cannot be had."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import sys
import tarfile
from pathlib import Path

import pytest
from command_line import in_process

from toolchain.bundle import web_runtimes
from toolchain.bundle.web_runtimes import Package, pinned_packages, vendor_web_runtimes
from toolchain.errors import MachineError

# An npm that puts one file into the folder it is told, and names it as those before 9.2 did.
NPM = """\
#!{python}
import json, shutil, sys
from pathlib import Path
target = Path(sys.argv[sys.argv.index("--pack-destination") + 1]) / "it.tgz"
shutil.copy({tarball!r}, target)
print(json.dumps([{{"filename": "@scope/it.tgz"}}]))
"""
SILENT = "#!/bin/sh\necho 'npm error code ENOTFOUND' >&2\nexit 1\n"


def fake_npm(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / "npm").write_text(text)
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_every_package_is_pinned_by_version_and_hash_and_no_host_is_named() -> None:
    packages = pinned_packages()
    assert {p.name for p in packages} == {
        "onnxruntime-web",
        "@litertjs/core",
        "@litertjs/wasm-utils",
    }
    for package in packages:
        assert re.fullmatch(r"\d+\.\d+\.\d+", package.version)
        assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", package.integrity)
        assert all(member.startswith("package/") for member in package.files.values())
        assert "://" not in json.dumps(package.files)


def test_without_npm_the_command_exits_with_4(tiny_run, tmp_path: Path) -> None:
    done = in_process(
        "bundle", tiny_run.folder, "--for", "web", "--out", tmp_path / "out", PATH="/nowhere"
    )
    assert done.returncode == 4
    assert "takes its runtimes from npm, which is not installed" in done.stderr
    assert "Node.js" in done.stderr
    assert not (tmp_path / "out" / "web").exists()


def test_a_registry_that_does_not_answer_is_told_in_npms_words(tmp_path, monkeypatch) -> None:
    fake_npm(tmp_path / "bin", SILENT, monkeypatch)
    with pytest.raises(MachineError, match=r"could not fetch onnxruntime-web@.* ENOTFOUND"):
        vendor_web_runtimes(tmp_path / "vendor")


def packed(path: Path, data: bytes) -> Path:
    """A tarball of one file."""
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("package/dist/ort.wasm.min.mjs")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return path


def test_packages_are_found_whatever_npm_says_their_tarballs_are_called(
    tmp_path: Path, monkeypatch
) -> None:
    tarball = packed(tmp_path / "right.tgz", b"run()")
    digest = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    member = "package/dist/ort.wasm.min.mjs"
    packages = tuple(
        Package(name, "1.0.0", "MIT", f"sha512-{digest}", {f"{at}.mjs": member})
        for at, name in enumerate(("@scope/one", "two"))
    )
    monkeypatch.setattr(web_runtimes, "pinned_packages", lambda: packages)
    text = NPM.format(python=sys.executable, tarball=str(tarball))
    fake_npm(tmp_path / "bin", text, monkeypatch)
    vendor_web_runtimes(tmp_path / "vendor")
    assert (tmp_path / "vendor" / "0.mjs").read_bytes() == b"run()"
    assert (tmp_path / "vendor" / "1.mjs").read_bytes() == b"run()"


def test_a_tarball_with_another_hash_is_refused(tmp_path: Path, monkeypatch) -> None:
    tarball = packed(tmp_path / "evil.tgz", b"alert(1)")
    text = NPM.format(python=sys.executable, tarball=str(tarball))
    fake_npm(tmp_path / "bin", text, monkeypatch)
    with pytest.raises(MachineError, match="npm gave sha512-"):
        vendor_web_runtimes(tmp_path / "vendor")
    assert not (tmp_path / "vendor").exists()


def test_an_npm_that_leaves_no_tarball_is_told(tmp_path: Path, monkeypatch) -> None:
    fake_npm(tmp_path / "bin", "#!/bin/sh\necho hello\n", monkeypatch)
    with pytest.raises(MachineError, match="expected one tarball of it, found 0"):
        vendor_web_runtimes(tmp_path / "vendor")
