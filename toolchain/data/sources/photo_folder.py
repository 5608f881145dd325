"""A folder of photos without what this toolchain itself writes into it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from toolchain.data.containers import FolderContainer
from toolchain.data.sources.aside import links_below


class PhotoFolder(FolderContainer):
    """A folder on disk; the results of commands that were typed in it do not belong to it."""

    def results(self) -> tuple[str, ...]:
        """Folders at the top that hold runs; `runs` where nothing else was said."""
        try:
            with os.scandir(self.path) as inside:
                folders = [entry for entry in inside if entry.is_dir(follow_symlinks=False)]
        except OSError:  # told by the walk
            return ()
        return tuple(sorted(entry.name for entry in folders if _holds_runs(entry.path)))

    def links(self) -> tuple[str, ...]:
        """Names of links to photos and folders; they are not followed."""
        ours = tuple(f"{name}/" for name in self.results())
        return tuple(name for name in links_below(self.path) if not name.startswith(ours))

    def _walk(self) -> Iterator[tuple[str, os.stat_result | None]]:
        ours = tuple(f"{name}/" for name in self.results())
        for name, status in super()._walk():
            if not ours or not f"{name}/".startswith(ours):
                yield name, status


def _holds_runs(folder: str) -> bool:
    """Whether a folder holds that of a run, which has a lock."""
    try:
        with os.scandir(folder) as inside:
            return any(
                entry.is_dir(follow_symlinks=False) and os.path.isfile(f"{entry.path}/.lock")  # noqa: PTH113
                for entry in inside
            )
    except OSError:
        return False
