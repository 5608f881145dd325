"""What is known of each photo, packed: a column of a table in one block instead of an object each.

Python spends 75 bytes on a name of 26 letters and 113 on a sha256 in hex; here they take 34 and 32.
Columns are sequences: they compare equal to a tuple or list of the same values.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value")
Places = NDArray[np.int64]
# Turned into Python objects at a time.
_AT_ONCE: Final = 4096
HASH_BYTES: Final = 32


class Column(Sequence[Value], Generic[Value]):
    """Values that are made when they are asked for."""

    __slots__ = ()

    def take(self, places: Places) -> Column[Value]:
        """The column of the values at `places`, int64 [n] in 0 to len - 1."""
        raise NotImplementedError

    def _at(self, place: int) -> Value:
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> Value: ...

    @overload
    def __getitem__(self, index: slice) -> Column[Value]: ...

    def __getitem__(self, index: int | slice) -> Value | Column[Value]:
        if isinstance(index, slice):
            return self.take(np.arange(*index.indices(len(self)), dtype=np.int64))
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"{index} is out of range for {len(self)} values")
        return self._at(place)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        pairs = zip(self, other, strict=False)
        return len(self) == len(other) and all(one == two for one, two in pairs)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} values)"


class Texts(Column[str]):
    """Texts as one block of UTF-8 and where each ends: their bytes and 8 more."""

    __slots__ = ("_block", "_ends")

    def __init__(self, texts: Iterable[str]) -> None:
        block, ends = bytearray(), array("q")
        for text in texts:
            # Names of files may hold bytes that are no UTF-8, which Python keeps as surrogates.
            block += text.encode("utf-8", "surrogatepass")
            ends.append(len(block))
        self._block = block  # never changed from here on; a copy of it would double the peak
        self._ends = np.frombuffer(ends, np.int64) if ends else np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def _at(self, place: int) -> str:
        start = self._ends[place - 1] if place else 0
        return self._block[start : self._ends[place]].decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        start = 0
        for at in range(0, len(self), _AT_ONCE):
            for end in self._ends[at : at + _AT_ONCE].tolist():
                yield self._block[start:end].decode("utf-8", "surrogatepass")
                start = end

    def take(self, places: Places) -> Texts:
        """See `Column.take`."""
        return self if _everything(places, len(self)) else Texts(self._at(at) for at in places)


class Hashes(Column[str]):
    """Hashes of sha256, 32 bytes each: in hex when they are asked for.

    Attributes:
      array: uint8 [count, 32].
    """

    __slots__ = ("array",)

    def __init__(self, rows: NDArray[np.uint8]) -> None:
        self.array = rows

    @staticmethod
    def of(texts: Iterable[str]) -> Hashes:
        """Those of 64 hexadecimal digits each.

        Raises:
          ValueError: a text is none.
        """
        block = bytearray()
        for text in texts:
            block += hash_bytes(text)
        return Hashes.packed(block)

    @staticmethod
    def packed(block: bytes | bytearray) -> Hashes:
        """Those that lie one after the other in `block`."""
        return Hashes(np.frombuffer(bytes(block), np.uint8).reshape(-1, HASH_BYTES))

    def __len__(self) -> int:
        return len(self.array)

    def _at(self, place: int) -> str:
        return bytes(self.array[place]).hex()

    def take(self, places: Places) -> Hashes:
        """See `Column.take`."""
        return self if _everything(places, len(self)) else Hashes(self.array[places])


class Numbers(Column[int]):
    """Whole numbers, four bytes each.

    Attributes:
      array: int32 [count].
    """

    __slots__ = ("array",)

    def __init__(self, numbers: Iterable[int] | NDArray[Any]) -> None:
        whole = numbers if isinstance(numbers, np.ndarray) else np.fromiter(numbers, np.int32)
        self.array = whole.astype(np.int32)

    def __len__(self) -> int:
        return len(self.array)

    def _at(self, place: int) -> int:
        return int(self.array[place])

    def take(self, places: Places) -> Numbers:
        """See `Column.take`."""
        return Numbers(self.array[places])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """For numpy's functions; a copy, unless nothing else is asked for."""
        return self.array.astype(dtype or self.array.dtype, copy=copy is not False)


class Choices(Column[Value]):
    """Values of which there are few, such as classes: one, two or four bytes each.

    Attributes:
      values: the different ones.
      codes: uint8, uint16 or uint32 [count], positions in `values`.
    """

    __slots__ = ("codes", "values")

    def __init__(self, values: Iterable[Value], codes: Iterable[int] | NDArray[Any]) -> None:
        self.values = tuple(values)
        whole = codes if isinstance(codes, np.ndarray) else np.fromiter(codes, np.uint32)
        self.codes = whole.astype(np.min_scalar_type(max(len(self.values) - 1, 0)))

    @staticmethod
    def of(chosen: Iterable[Value]) -> Choices[Value]:
        """The column of these values."""
        known: dict[Value, int] = {}
        codes = array("L", (known.setdefault(one, len(known)) for one in chosen))
        return Choices(known, np.asarray(codes, np.uint32))

    def __len__(self) -> int:
        return len(self.codes)

    def _at(self, place: int) -> Value:
        return self.values[int(self.codes[place])]

    def __iter__(self) -> Iterator[Value]:
        for at in range(0, len(self), _AT_ONCE):
            for code in self.codes[at : at + _AT_ONCE].tolist():
                yield self.values[code]

    def take(self, places: Places) -> Choices[Value]:
        """See `Column.take`."""
        return Choices(self.values, self.codes[places])

    def among(self, values: Sequence[Value]) -> NDArray[np.int64]:
        """Each value's position in `values`, int64 [count]; -1 where it is not there."""
        position = {value: at for at, value in enumerate(values)}
        table = np.asarray([position.get(value, -1) for value in self.values], np.int64)
        return table[self.codes] if len(table) else np.empty(0, np.int64)


class Index(Mapping[str, int]):
    """Where each of some texts is, by its hash: 24 bytes each, where a dict takes about 200."""

    __slots__ = ("_hashes", "_order", "_places", "_texts")

    def __init__(self, texts: Texts, places: Places | None = None) -> None:
        """Of these texts, or of those at `places` alone, which are then iterated in that order."""
        self._texts = texts
        self._order = np.arange(len(texts)) if places is None else places
        hashes = np.fromiter((hash(text) for text in self), np.int64, len(self._order))
        rank = np.argsort(hashes, kind="stable")
        self._hashes = array("q", hashes[rank].tobytes())
        self._places = self._order[rank]

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[str]:
        return (self._texts[int(place)] for place in self._order)

    def __getitem__(self, text: str) -> int:
        wanted = hash(text)
        at = bisect_left(self._hashes, wanted)
        while at < len(self._hashes) and self._hashes[at] == wanted:
            place = int(self._places[at])
            if self._texts[place] == text:
                return place
            at += 1
        raise KeyError(text)


def _everything(places: Places, count: int) -> bool:
    """Whether these are 0 to count - 1: what is taken then is what there is, and no copy of it."""
    return len(places) == count and bool((np.diff(places, prepend=-1) == 1).all())


def hash_bytes(text: str) -> bytes:
    """The 32 bytes of a sha256 in hex.

    Raises:
      ValueError: it is none.
    """
    found = bytes.fromhex(text)
    # Space between digits is passed over by Python.
    if len(text) != 2 * HASH_BYTES or len(found) != HASH_BYTES:
        raise ValueError(f"expected a sha256 of 64 digits, received {text[:70]!r}")
    return found


def first_places(sha256: Sequence[str]) -> Places:
    """For each hash the position where the same one was first, int64 [count]."""
    places = np.arange(len(sha256), dtype=np.int64)
    if not isinstance(sha256, Hashes):
        return _first_of_equal(np.asarray(sha256), places)
    # Most differ in their first 8 bytes: only the others are compared as a whole.
    starts = np.ascontiguousarray(sha256.array[:, :8]).view(np.uint64).ravel()
    order = np.argsort(starts, kind="stable")
    same = starts[order[1:]] == starts[order[:-1]]
    some = np.union1d(order[1:][same], order[:-1][same])
    # As bytes of one length, which numpy sorts; of 32 each, no two differ in zeros at the end only.
    whole = np.ascontiguousarray(sha256.array[some]).view(f"S{HASH_BYTES}").ravel()
    places[some] = _first_of_equal(whole, some)
    return places


def _first_of_equal(keys: NDArray[Any], places: Places) -> Places:
    if not len(keys):
        return places
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    return places[first[group]]
