"""What a stopped stage goes on from: files beside its folder, for one state of what it depends on.

    runs/<recipe>/.<stage>.unfinished-<key>/depends.json   what the files were made from
    runs/<recipe>/.<stage>.unfinished-<key>/<file>         each written whole or not at all

No stage has such a name, so that nothing in here is taken for a finished one. Another recipe, other
photos or other code have another key and never meet these files; they stay beside the new ones,
for whoever turns back, until the stage is published.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import toolchain
from toolchain.files import sha256_json, write_bytes, write_text, writing

_DEPENDS: Final = "depends.json"
_SHOWN_CHARACTERS: Final = 40


class Unfinished:
    """The files of one stage of a run; whoever uses it holds the run's lock.

    Attributes:
      reached: how far the stage has come, in words; empty when nothing is kept.
    """

    def __init__(self, run_folder: Path, stage: str, depends: Mapping[str, Any]) -> None:
        self._pattern = f".{stage}.unfinished-*"
        self._run_folder = run_folder
        self._depends = json.loads(json.dumps(depends))
        self.folder = run_folder / self._pattern.replace("*", sha256_json(self._depends)[:16])
        self.reached = ""

    def path(self, name: str) -> Path:
        """Where a file lies, if there is one."""
        return self.folder / name

    def write(self, name: str, data: bytes, reached: str) -> None:
        """Replace a file at once.

        Raises:
          MachineError: the disk is full or the place cannot be written.
        """
        if not self.path(_DEPENDS).exists():
            with writing(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self.path(_DEPENDS), json.dumps(self._depends, indent=1) + "\n")
        for stray in self.folder.glob(".*.tmp-*"):
            stray.unlink(missing_ok=True)
        write_bytes(self.path(name), data)
        self.reached = reached

    def differences(self) -> list[str]:
        """What another unfinished try depended on that is different now, one phrase each.

        Empty when there is no other; the newest counts when there are several.
        """
        others = [f for f in self._run_folder.glob(self._pattern) if f != self.folder]
        for folder in sorted(others, key=lambda one: one.stat().st_mtime_ns, reverse=True):
            try:
                then = json.loads((folder / _DEPENDS).read_bytes())
            except (OSError, ValueError, RecursionError):
                continue
            return list(_differences(then, self._depends))
        return []

    def remove(self) -> None:
        """Remove what is kept here: what it would become is published."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def remove_all(self) -> None:
        """Remove what is kept of the stage, whatever it depended on."""
        for folder in self._run_folder.glob(self._pattern):
            shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def code_sha256(*rooms: str) -> str:
    """Hash of the source of some of our packages: other code may compute other numbers."""
    digest = hashlib.sha256()
    for room in rooms:
        for path in sorted((Path(toolchain.__file__).parent / room).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _differences(then: Any, now: Any, name: str = "") -> Iterator[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        for key in sorted({*then, *now}):
            # Keys of the recipe are told as they are typed.
            inner = key if name in ("", "recipe") else f"{name}.{key}"
            yield from _differences(then.get(key), now.get(key), inner)
    elif then != now:
        before, after = json.dumps(then), json.dumps(now)
        if max(len(before), len(after)) > _SHOWN_CHARACTERS:
            what = name.replace("upstream.", "what came out of stage ")
            yield f"{what} has changed"
        else:
            yield f"{name} was {before}, is {after}"
