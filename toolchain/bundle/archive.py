"""A folder as a zip whose bytes depend on the files alone: sorted, one fixed time, plain rights."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final

# The earliest time that a zip can say.
_TIME: Final = (1980, 1, 1, 0, 0, 0)
_READABLE, _EXECUTABLE = 0o100644, 0o100755
_SCRIPTS: Final = frozenset({".py", ".sh"})


def write_zip(folder: Path, archive: Path) -> None:
    """Pack `folder`, under its own name, into the new file `archive`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with zipfile.ZipFile(archive, "x", zipfile.ZIP_DEFLATED, compresslevel=6) as target:
        for path in files:
            name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            # Zip's "made by" decides how the rights are read; 3 is Unix, whatever made it.
            entry.create_system = 3
            mode = _EXECUTABLE if path.suffix in _SCRIPTS else _READABLE
            entry.external_attr = mode << 16
            target.writestr(entry, path.read_bytes())
