"""The browser runtimes of a web bundle, from npm's registry, so that the page works offline.

web_runtimes.json pins each package by version and sha512, and names the files that the page
loads. npm fetches them with the user's own configuration and cache; its answer is not trusted.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from toolchain.errors import MachineError
from toolchain.files import write_bytes, write_text

NOTICE_FILE: Final = "NOTICE.txt"
_TIMEOUT_SECONDS: Final = 300
_MAX_FILE_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Package:
    """A pinned package.

    Attributes:
      name, version: as npm knows it.
      licence: with the holder of the copyright.
      integrity: "sha512-" and the base64 of the hash of its tarball, as npm writes it.
      files: path below the target folder -> member of the tarball.
    """

    name: str
    version: str
    licence: str
    integrity: str
    files: dict[str, str]


def pinned_packages() -> tuple[Package, ...]:
    """What web_runtimes.json pins."""
    text = (files("toolchain.bundle") / "web_runtimes.json").read_text(encoding="utf-8")
    return tuple(Package(**entry) for entry in json.loads(text))


def vendor_web_runtimes(target: Path) -> None:
    """Write the files of every pinned package below `target`, with a notice of their licences.

    Raises:
      MachineError: there is no npm, its registry does not answer, or a tarball is another one.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise MachineError(
            "a web bundle takes its runtimes from npm, which is not installed",
            remedy="install Node.js with npm, or make the bundle on a machine that has it",
        )
    packages = pinned_packages()
    for package in packages:
        with tempfile.TemporaryDirectory() as folder:
            _unpack(_fetch(npm, package, Path(folder)), package, target)
    write_text(target / NOTICE_FILE, "".join(_notice(package) for package in packages))


def _fetch(npm: str, package: Package, folder: Path) -> Path:
    """The tarball of a package in the empty `folder`.

    What npm prints is not looked at: before 9.2 it named those of scoped packages wrongly
    (https://github.com/npm/cli/issues/3405).
    """
    wanted = f"{package.name}@{package.version}"
    command = [npm, "pack", wanted, "--prefer-offline", "--ignore-scripts"]
    command += ["--pack-destination", str(folder)]
    try:
        subprocess.run(
            command, cwd=folder, capture_output=True, timeout=_TIMEOUT_SECONDS, check=True
        )
        tarballs = list(folder.glob("*.tgz"))
        if len(tarballs) != 1:
            raise _unreachable(wanted, f"expected one tarball of it, found {len(tarballs)}")
        data = tarballs[0].read_bytes()
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise _unreachable(wanted, said[0]) from error
    except (subprocess.TimeoutExpired, OSError) as error:
        raise _unreachable(wanted, f"{type(error).__name__}: {error}") from error
    found = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    if found != package.integrity:
        raise MachineError(
            f"expected {wanted} with {package.integrity[:20]}…, npm gave {found[:20]}…",
            remedy="clear npm's cache, and ask who runs your registry",
        )
    return tarballs[0]


def _unreachable(wanted: str, why: str) -> MachineError:
    return MachineError(
        f"npm could not fetch {wanted}: {why[:200]}",
        remedy="look at npm's configuration (npm config list), then try again",
    )


def _unpack(tarball: Path, package: Package, target: Path) -> None:
    with tarfile.open(tarball, "r:gz") as archive:
        for name, member in package.files.items():
            info = archive.getmember(member)
            content = archive.extractfile(info) if info.size <= _MAX_FILE_BYTES else None
            if content is None:
                raise MachineError(f"{member} of {package.name} is no file of a usual size")
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(place, content.read())


def _notice(package: Package) -> str:
    return f"{package.name} {package.version}: {package.licence}\n"
