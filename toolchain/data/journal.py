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

import numpy as np
from numpy.typing import NDArray

from toolchain.columns import HASH_BYTES, hash_bytes
from toolchain.images.decode import UNREADABLE

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


class Rows:
    """The rows of all photos of a source, packed: 65 bytes each.

    Attributes:
      known: bool [count], whether there is a row.
      sha256, picture: uint8 [count, 32], see `Row`; zeros where there is none.
      reasons: position -> why there are no pixels, see `Row`.
    """

    def __init__(self, count: int) -> None:
        self.known = np.zeros(count, np.bool_)
        self.sha256 = np.zeros((count, HASH_BYTES), np.uint8)
        self.picture = np.zeros((count, HASH_BYTES), np.uint8)
        self.reasons: dict[int, str] = {}

    def put(self, row: Row) -> None:
        """Add or replace a row.

        Raises:
          ValueError: its hashes are none.
        """
        if row.reason:
            self.reasons[row.position] = row.reason
        else:
            self.sha256[row.position] = np.frombuffer(hash_bytes(row.sha256), np.uint8)
            self.picture[row.position] = np.frombuffer(hash_bytes(row.picture), np.uint8)
            self.reasons.pop(row.position, None)
        self.known[row.position] = True

    def take(self, places: NDArray[np.int64]) -> Rows:
        """The rows at `places`, int64 [n], which are positions 0 to n - 1 from then on."""
        taken = Rows(len(places))
        taken.known = self.known[places]
        taken.sha256, taken.picture = self.sha256[places], self.picture[places]
        taken.reasons = {
            at: self.reasons[place]
            for at, place in enumerate(places.tolist())
            if place in self.reasons
        }
        return taken

    def unreadable(self) -> NDArray[np.int64]:
        """Positions of the files that could not be read, int64 [n], ascending."""
        told = (at for at, reason in self.reasons.items() if reason.startswith(UNREADABLE))
        return np.sort(np.fromiter(told, np.int64))

    def good(self) -> NDArray[np.int64]:
        """Positions of the rows with pixels, int64 [n], ascending."""
        good = self.known.copy()
        good[list(self.reasons)] = False
        return np.flatnonzero(good).astype(np.int64)

    def missing(self) -> NDArray[np.int64]:
        """Positions without a row, int64 [n], ascending."""
        return np.flatnonzero(~self.known).astype(np.int64)


def read_journal(path: Path, count: int) -> Rows:
    """The rows of a journal, of positions 0 to count - 1; cut off after its last whole line."""
    rows, whole = Rows(count), 0
    if not path.exists():
        return rows
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            row = _row(line[:-1].decode(errors="replace"))
            if row is not None and 0 <= row.position < count:
                rows.put(row)
    if whole < path.stat().st_size:
        os.truncate(path, whole)
    return rows


def _row(line: str) -> Row | None:
    position, _, rest = line.partition(" ")
    mark, _, last = rest.partition(" ")
    try:
        if mark == "-":
            return Row(int(position), reason=str(json.loads(last)))
        for text in (mark, last):
            hash_bytes(text)
        return Row(int(position), mark, last)
    except ValueError:
        return None
