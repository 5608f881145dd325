"""What a cache knows of each photo, one line each: appended while it is built, kept with it.

    17 9f86d081884c7d65… 60303ae22b998861…   hash of the row's pixels, hash of the whole picture
    18 - "the image cannot be decoded: …"

A line that a kill cut short is no line: it is dropped, and its photo is decoded again.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# A kill loses nothing, since the system keeps what was written. A power cut loses what was not yet
# on disk: at most this much work, as rows are held to their hashes before they are trusted.
_SYNC_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Row:
    """One photo after decoding, or why there is none.

    Attributes:
      position: among the source's items.
      sha256: of the row's pixels, as resized.
      picture: of the decoded picture, see `images.decode.picture_sha256`.
      reason: why there are no pixels; empty when there are.
    """

    position: int
    sha256: str = ""
    picture: str = ""
    reason: str = ""

    def line(self) -> str:
        """As the journal writes it."""
        if not self.reason:
            return f"{self.position} {self.sha256} {self.picture}\n"
        return f"{self.position} - {json.dumps(self.reason)}\n"


class Journal:
    """Append-only file of rows; now and then it is synced, after the pixels that it tells of."""

    def __init__(self, path: Path, pixels: int | None) -> None:
        """Open or go on with `path`; `pixels` is the descriptor of the pixels' file, if any."""
        self._file = path.open("ab")
        self._pixels = pixels
        self._synced = time.monotonic()

    def append(self, row: Row) -> None:
        """Add a row; from then on a kill does not lose it."""
        self._file.write(row.line().encode())
        self._file.flush()
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Bring to disk what was written, the pixels first."""
        if self._pixels is not None:
            os.fsync(self._pixels)
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_journal(path: Path, count: int) -> dict[int, Row]:
    """The rows of a journal by position (0 to count - 1); cut off after its last whole line."""
    if not path.exists():
        return {}
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    rows = (_row(line) for line in data[:whole].decode(errors="replace").splitlines())
    return {row.position: row for row in rows if row is not None and 0 <= row.position < count}


def _row(line: str) -> Row | None:
    position, _, rest = line.partition(" ")
    mark, _, last = rest.partition(" ")
    try:
        if mark == "-":
            return Row(int(position), reason=str(json.loads(last)))
        return Row(int(position), mark, last) if len(mark) == len(last) == 64 else None
    except ValueError:
        return None
