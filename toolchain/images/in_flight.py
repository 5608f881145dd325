"""How many pixels all threads decode at once, so that memory does not grow with the processors."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Final

from PIL import Image

# A decoded image takes 8 bytes a pixel on its way to RGB, 14 where it has 16 bits. The largest that
# is decoded has 50 million pixels: one of those, or five photos of a phone.
MOST: Final = 64_000_000
# Pillow keeps so many of its blocks of 16 MiB for the next large image. Given back to malloc, they
# would stay with the thread that happened to take them: each would come to hold a large image.
_BLOCKS: Final = 32
# Fewer are not counted: of these even 64 processors hold half a gigabyte at most.
_FEW: Final = 1_000_000


class _Budget:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held = 0

    def take(self, pixels: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + pixels <= MOST)
            _keep_blocks(_BLOCKS)
            self._held += pixels

    def give_back(self, pixels: int) -> None:
        with self._changed:
            self._held -= pixels
            self._changed.notify_all()


# One for the process, whose memory it keeps small.
_budget: Final = _Budget()


@contextlib.contextmanager
def in_flight(pixels: int) -> Iterator[None]:
    """Waits until so many more pixels may be held; they count until the block ends."""
    if pixels < _FEW:
        yield
        return
    _budget.take(pixels)
    try:
        yield
    finally:
        _budget.give_back(pixels)


def let_go() -> None:
    """Gives back the memory that is kept for the next large image, for when there is none."""
    _keep_blocks(0)


def _keep_blocks(most: int) -> None:
    # Pillow's documented way, which its types leave out.
    vars(Image)["core"].set_blocks_max(most)
