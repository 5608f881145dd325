"""What is known of many photos, in few bytes each: names, hashes, and the table they are saved as.

A tuple of Python's own strings takes 105 bytes for a name and 121 for a hash; packed they take
their text and 8 bytes, and 32. With a million photos that decides what a run needs.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, overload

from toolchain.errors import ModelError
from toolchain.run import writing

HASH_BYTES: Final = 32
_HEADER: Final = ("split", "class", "row", "sha256", "name")
# Names of files can hold bytes that are no UTF-8, which Python keeps as lone surrogates.
_CODEC: Final = ("utf-8", "surrogatepass")


class _Packed(Sequence[str]):
    """An unchanging sequence of texts that are made when they are asked for."""

    __slots__ = ()

    def _one(self, position: int) -> str:
        raise NotImplementedError

    def _content(self) -> Any:
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self._one(at) for at in range(*index.indices(len(self))))
        return self._one(range(len(self))[index])

    def __iter__(self) -> Iterator[str]:
        return (self._one(at) for at in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return bool(self._content() == other._content())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self[:3])}…, {len(self):,} in all)"


class Names(_Packed):
    """Names of photos, in one buffer."""

    __slots__ = ("_ends", "_text")

    def __init__(self, names: Iterable[str]) -> None:
        self._ends = array("q")
        text = bytearray()
        for name in names:
            text += name.encode(*_CODEC)
            self._ends.append(len(text))
        self._text = bytes(text)

    def __len__(self) -> int:
        return len(self._ends)

    def _one(self, position: int) -> str:
        start = self._ends[position - 1] if position else 0
        return self._text[start : self._ends[position]].decode(*_CODEC)

    def _content(self) -> Any:
        return self._text, self._ends


class Hashes(_Packed):
    """SHA-256 sums, as hexadecimal text when they are asked for.

    Attributes:
      packed: `HASH_BYTES` bytes a hash, one after another.
    """

    __slots__ = ("packed",)

    def __init__(self, packed: bytes) -> None:
        self.packed = packed

    @staticmethod
    def of(hashes: Iterable[str]) -> Hashes:
        """From hexadecimal text."""
        return Hashes(b"".join(map(_hash_of, hashes)))

    def __len__(self) -> int:
        return len(self.packed) // HASH_BYTES

    def _one(self, position: int) -> str:
        return self.packed[position * HASH_BYTES : (position + 1) * HASH_BYTES].hex()

    def _content(self) -> Any:
        return self.packed


@dataclass(frozen=True, slots=True)
class PhotoTable:
    """One entry a photo in every column; saved as text, a line a photo.

    Attributes:
      splits, classes: names of its split and class.
      rows: where it lies in the file of pixels.
      sha256: of its resized pixels.
      names: in its source.
    """

    splits: tuple[str, ...]
    classes: tuple[str, ...]
    rows: Sequence[int]
    sha256: Hashes
    names: Names

    def save(self, path: Path) -> None:
        """Write the table: columns divided by tabs, the name quoted as in JSON.

        Raises:
          MachineError: the disk is full or the place cannot be written.
        """
        columns = (self.splits, self.classes, self.rows, self.sha256, self.names)
        with writing(path), path.open("w", encoding="utf-8", newline="\n") as file:
            file.write("\t".join(_HEADER) + "\n")
            for *cells, name in zip(*columns, strict=True):
                # With escapes: names of files can hold tabs, and bytes that are no UTF-8.
                file.write("\t".join(map(str, cells)) + f"\t{json.dumps(name)}\n")

    @staticmethod
    def load(path: Path) -> PhotoTable:
        """Read what `save` wrote, line by line.

        Raises:
          ModelError: it is missing, or a line is not of its form.
        """
        splits, classes, rows, hashes = [], [], array("q"), bytearray()
        shared: dict[str, str] = {}  # one object for equal texts

        def names(lines: Iterable[str]) -> Iterator[str]:
            for line in lines:
                split, class_name, row, sha256, name = line.split("\t")
                splits.append(shared.setdefault(split, split))
                classes.append(shared.setdefault(class_name, class_name))
                rows.append(int(row))
                hashes.extend(_hash_of(sha256))
                yield str(json.loads(name))

        try:
            with path.open(encoding="utf-8", newline="\n") as file:
                if next(file, "").split() != list(_HEADER):
                    raise ValueError(f"expected the columns {', '.join(_HEADER)}")
                packed = Names(names(file))
        except (OSError, ValueError, OverflowError) as error:
            raise ModelError(
                f"cannot be read: {error}", str(path), "run the stage again"
            ) from error
        return PhotoTable(tuple(splits), tuple(classes), rows, Hashes(bytes(hashes)), packed)


def _hash_of(text: str) -> bytes:
    if len(text) != 2 * HASH_BYTES:
        raise ValueError(f"expected a hash of {2 * HASH_BYTES} digits, received {text!r:.80}")
    return bytes.fromhex(text)
