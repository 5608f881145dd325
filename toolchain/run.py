"""The run folder: one folder a stage, published whole, its manifest the commit mark.

    runs/<recipe>/<stage>/manifest.json   key, files with sha256, versions, what the stage did

A stage writes into a temporary folder beside its final one; when it is complete, every file is
hashed and synced, the manifest is written last, and one rename puts the folder in place. A killed
stage leaves the previous folder as it was, and a stray temporary one that the next run sweeps.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import re
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from toolchain import __version__
from toolchain.errors import InputError, MachineError, ModelError
from toolchain.files import sha256_file, sha256_json, sync, write_text, writing
from toolchain.saved import made_of

MANIFEST: Final = "manifest.json"
# What a killed process leaves beside what it was about to replace.
_STRAY: Final = re.compile(r"\.(?P<of>.+)\.(?P<what>tmp|old)-[0-9]+")
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A published file: its hash, its bytes, and its time of change for the quick test."""

    sha256: str
    bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The commit mark of a stage.

    Attributes:
      stage: name of the stage.
      key: hash of all that the stage depends on (its part of the recipe, what lies upstream).
      files: path inside the stage's folder -> entry.
      seconds: how long the stage took.
      made_with: version of the toolchain, Python and the processor's name.
      made_from: stage -> digest of the stages that were read; what tells, without the recipe,
        whether two stages belong together.
      command: what was typed.
      settings: hash of the recipe's share of the key; empty where the key holds nothing else.
    """

    stage: str
    key: str
    files: dict[str, FileEntry]
    seconds: float
    made_with: dict[str, str]
    made_from: dict[str, str] = field(default_factory=dict)
    command: str = ""
    settings: str = ""

    def digest(self) -> str:
        """Hash of what came out: the settings and the content of every file, not times or paths.

        Nor what only tells that a stage has to run again, such as the time of an archive: the same
        photos downloaded once more are no reason to train again.
        """
        files = {name: entry.sha256 for name, entry in self.files.items()}
        return sha256_json({"key": self.settings or self.key, "files": files})


class Run:
    """The folder of one recipe's results; `root / name`."""

    def __init__(self, root: Path, name: str) -> None:
        self.folder = root / name
        self.name = name

    @staticmethod
    def at(folder: Path) -> Run:
        """The run whose results lie in this folder."""
        folder = folder.absolute()
        return Run(folder.parent, folder.name)

    def stage(self, stage: str) -> Path:
        """Where a stage's published files lie."""
        return self.folder / stage

    def shared(self, name: str) -> Path:
        """Where the runs beside this one keep what they share; no recipe's name starts so."""
        return self.folder.parent / ".cache" / name

    def log(self, stage: str) -> Path:
        """Where the native libraries' messages of a stage go; makes the folder.

        Raises:
          MachineError: the folder cannot be made.
        """
        path = self.folder / "logs" / f"{stage}.log"
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def manifest(self, stage: str) -> Manifest | None:
        """The manifest of a published stage, or None where there is none that can be read."""
        try:
            return made_of(Manifest, json.loads((self.stage(stage) / MANIFEST).read_bytes()))
        except (OSError, ValueError, RecursionError):
            return None

    def is_current(self, stage: str, key: str) -> bool:
        """Whether the published stage has this key and its files are as they were published."""
        manifest = self.manifest(stage)
        if manifest is None or manifest.key != key:
            return False
        return all(self._untouched(stage, name, entry) for name, entry in manifest.files.items())

    def _untouched(self, stage: str, name: str, entry: FileEntry) -> bool:
        """By size and time of change; by its bytes where the time is another, as after a copy."""
        path = self.stage(stage) / name
        try:
            status = path.stat()
            if status.st_size != entry.bytes:
                return False
            return status.st_mtime_ns == entry.mtime_ns or sha256_file(path) == entry.sha256
        except OSError:
            return False

    def require_all(self, stage: str) -> Path:
        """A stage's folder after the hash of every file in it was compared; see `require`."""
        manifest = self.manifest(stage)
        for name in manifest.files if manifest else (MANIFEST,):
            self.require(stage, name)
        return self.stage(stage)

    def require(self, stage: str, name: str) -> Path:
        """A published file after its hash was compared with the manifest.

        Raises:
          ModelError: the stage or file is missing, or its bytes are not those that were published.
        """
        manifest, path = self.manifest(stage), self.stage(stage) / name
        if manifest is None or name not in manifest.files:
            raise ModelError(
                f"expected {name} of stage {stage}, found none", str(path), f"run: make {stage}"
            )
        try:
            found = sha256_file(path)
        except OSError as error:
            raise ModelError(
                f"{name} of stage {stage} cannot be read: {error.strerror}",
                str(path),
                f"run: make {stage}",
            ) from error
        if found != manifest.files[name].sha256:
            raise ModelError(
                f"expected sha256 {manifest.files[name].sha256[:16]}…, found {found[:16]}…",
                str(path),
                f"the file was changed after it was published; delete {path.parent} and run again",
            )
        return path

    @contextlib.contextmanager
    def publish(
        self, stage: str, key: str, made_from: Mapping[str, str] = _NOTHING, settings: str = ""
    ) -> Iterator[Path]:
        """Gives an empty folder to fill; publishes it as the stage's folder if nothing raises.

        The arguments are those of the `Manifest` that it gets.

        Raises:
          InputError: a folder or file of that name is there that no stage made.
          MachineError: the disk is full or the place cannot be written.
        """
        started = time.monotonic()
        self._keep_hands_off(stage)
        aside = self.folder / f".{stage}.tmp-{os.getpid()}"
        with writing(aside):
            aside.mkdir(parents=True)
        try:
            with writing(aside):
                yield aside
                marks = {"stage": stage, "key": key, "settings": settings}
                self._commit(marks, made_from, aside, time.monotonic() - started)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _keep_hands_off(self, stage: str) -> None:
        """What is published replaces what was, but not an app's `android/` or a class `data/`."""
        final = self.stage(stage)
        if (final.exists() or final.is_symlink()) and not _made_by(stage, final):
            raise InputError(
                f"expected no folder {stage} or one that was published before, found another",
                str(final),
                "nothing was changed; give another place with --out or --runs, or delete it",
            )

    def _commit(
        self, marks: Mapping[str, str], made_from: Mapping[str, str], aside: Path, seconds: float
    ) -> None:
        files = {}
        for path in sorted(p for p in aside.rglob("*") if p.is_file()):
            sync(path)
            status = path.stat()
            files[path.relative_to(aside).as_posix()] = FileEntry(
                sha256_file(path), status.st_size, status.st_mtime_ns
            )
        manifest = {
            **marks,
            "files": {name: _entry_json(entry) for name, entry in files.items()},
            "seconds": round(seconds, 3),
            "made_with": {
                "toolchain": __version__,
                "python": platform.python_version(),
                "machine": platform.machine(),
            },
            "made_from": dict(made_from),
            "command": typed_command(),
        }
        write_text(aside / MANIFEST, json.dumps(manifest, indent=1) + "\n")
        for folder in (aside, *(p for p in aside.rglob("*") if p.is_dir())):
            sync(folder)
        self._replace(marks["stage"], aside)

    def _replace(self, stage: str, aside: Path) -> None:
        final, old = self.stage(stage), self.folder / f".{stage}.old-{os.getpid()}"
        if final.exists():
            final.rename(old)
        try:
            aside.rename(final)
        except OSError:
            if old.exists():
                old.rename(final)
            raise
        try:
            sync(self.folder)
        finally:
            _remove(old, aside)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the run folder; sweeps what killed runs left.

        Raises:
          InputError: another process is working in it.
          MachineError: it cannot be written, or its file system has no locks.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = (self.folder / ".lock").open("w")
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(
                    "another process is working on this run", str(self.folder), "wait for its end"
                ) from error
            except OSError as error:
                raise MachineError(
                    f"the folder cannot be locked: {error.strerror}",
                    str(self.folder),
                    "give one on another disk with --runs",
                ) from error
            with writing(self.folder):
                self._sweep()
            yield

    def _sweep(self) -> None:
        for stray in self.folder.iterdir():
            name = _STRAY.fullmatch(stray.name)
            if name is None:
                continue
            if name["what"] == "tmp":
                _discard(stray)
            elif _made_by(name["of"], stray):
                # Killed between the two renames: the complete old folder goes back to its name.
                if not (final := self.stage(name["of"])).exists():
                    stray.rename(final)
                _remove(stray, stray.with_name(stray.name.replace(".old-", ".tmp-")))


def _remove(old: Path, aside: Path) -> None:
    """Remove a folder under a name that says it is of no use, should this be killed halfway."""
    if old.exists():
        old.rename(aside)
        _discard(aside)


def _discard(stray: Path) -> None:
    """Remove a folder or a file; of a link, which may lead to another disk, the link alone."""
    if stray.is_dir() and not stray.is_symlink():
        shutil.rmtree(stray, ignore_errors=True)
    else:
        stray.unlink(missing_ok=True)


def _made_by(stage: str, folder: Path) -> bool:
    """Whether a folder was published by a stage, of this version or another; or is empty."""
    try:
        if not any(folder.iterdir()):
            return True
        made: Any = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(made, dict) and made.get("stage") == stage


def _entry_json(entry: FileEntry) -> dict[str, Any]:
    return {"sha256": entry.sha256, "bytes": entry.bytes, "mtime_ns": entry.mtime_ns}


def typed_command() -> str:
    """What was typed: it re-makes what is being made. Bytes that are no UTF-8 are escaped."""
    return shlex.join(typed_words())


def typed_words() -> list[str]:
    """The words of `typed_command`."""
    return [
        "toolchain",
        *(word.encode(errors="backslashreplace").decode() for word in sys.argv[1:]),
    ]
