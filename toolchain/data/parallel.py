"""Work on many photos at once: threads, because Pillow frees the interpreter lock at its work."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from toolchain.images.in_flight import let_go

# A task is enough photos that handing it over costs little (CIFAR-10 is 60,000 files of 2 KB), and
# bounded in bytes, so that what waits stays small when every photo has 10 MB.
_PHOTOS_A_TASK: Final = 16
_BYTES_A_TASK: Final = 1 << 20
# What may wait in all, whatever the number of processors: two of the largest files.
_BYTES_WAITING: Final = 1 << 27

Key = TypeVar("Key")
Result = TypeVar("Result")


def threads() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_threads(
    photos: Iterable[tuple[Key, bytes]], work: Callable[[Key, bytes], Result]
) -> Iterator[Result]:
    """`work` on every photo, in parallel; results come in the order of the photos.

    Args:
      photos: (what it is, bytes of its file); read by one thread, a little ahead.
      work: called in several threads.
    """

    def task(group: list[tuple[Key, bytes]]) -> list[Result]:
        return [work(key, data) for key, data in group]

    count = threads()
    waiting: deque[tuple[int, Future[list[Result]]]] = deque()
    total = 0
    with ThreadPoolExecutor(max_workers=count) as pool:
        try:
            for group in _groups(photos):
                size = sum(len(data) for _, data in group)
                total += size
                waiting.append((size, pool.submit(task, group)))
                while len(waiting) > 2 * count or (total > _BYTES_WAITING and len(waiting) > 1):
                    done, results = waiting.popleft()
                    yield from results.result()
                    total -= done
            while waiting:
                yield from waiting.popleft()[1].result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            let_go()


def _groups(photos: Iterable[tuple[Key, bytes]]) -> Iterator[list[tuple[Key, bytes]]]:
    group: list[tuple[Key, bytes]] = []
    total = 0
    for photo in photos:
        group.append(photo)
        total += len(photo[1])
        if len(group) == _PHOTOS_A_TASK or total >= _BYTES_A_TASK:
            yield group
            group, total = [], 0
    if group:
        yield group
