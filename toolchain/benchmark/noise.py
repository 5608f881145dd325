"""What else goes on while files are timed: is the machine quiet enough to believe the numbers?

A fixed piece of work is timed between the rounds. When it becomes slower the clock was lowered or
something shares the core, and every file's numbers moved with it. The kernel's own counters tell
what other programs and other guests of the machine took.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import psutil

from toolchain.measurement import Noise

# Bounds of a quiet machine. Two cores that only ran the benchmark stayed below half of each.
MAX_DRIFT: Final = 0.05
MAX_SPREAD: Final = 0.05
MAX_STEAL: Final = 0.01
MAX_OTHERS: Final = 0.25
_ITEMS: Final = 50_000
_REPEATS: Final = 5
_SEED: Final = 0


@dataclass(frozen=True, slots=True)
class Processors:
    """Processor seconds since the machine started: of everybody, of ourselves, and stolen."""

    busy: float
    own: float
    stolen: float
    total: float


class Watch:
    """Started before the first round; `tick` between rounds; `noise` at the end."""

    def __init__(self) -> None:
        self._work = np.random.default_rng(_SEED).integers(0, 2**31, _ITEMS)
        self._ticks: list[float] = []
        self._load, self._started = _load(), time.monotonic()
        self._before = processors()

    def tick(self) -> None:
        """Time the fixed piece of work: the fastest of a few repeats, so waking up is not in it."""
        self._ticks.append(min(self._once() for _ in range(_REPEATS)))

    def _once(self) -> float:
        started = time.perf_counter()
        np.sort(self._work)
        return time.perf_counter() - started

    def noise(self) -> Noise:
        """The numbers since the start and what they mean."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        after, before = processors(), self._before
        others = max(0.0, (after.busy - before.busy) - (after.own - before.own)) / seconds
        steal = (after.stolen - before.stolen) / max(after.total - before.total, 1e-9)
        return judge(drift(self._ticks), spread(self._ticks), steal, others, (self._load, _load()))


def judge(
    drifted: float, spread_out: float, steal: float, others: float, load: tuple[float, float]
) -> Noise:
    """Numbers held against the bounds; the sentences say what a person can do something about."""
    reasons = []
    if abs(drifted) > MAX_DRIFT:
        direction = "longer" if drifted > 0 else "shorter"
        reasons.append(
            f"the same work took {abs(drifted):.0%} {direction} at the end than at the start: the "
            "clock changed, or something began or ended beside it"
        )
    if spread_out > MAX_SPREAD:
        reasons.append(f"the same work varied by {spread_out:.0%} between the rounds")
    if steal > MAX_STEAL:
        reasons.append(f"the hypervisor gave {steal:.1%} of the processor time to other guests")
    if others > MAX_OTHERS:
        reasons.append(f"other programs kept {others:.1f} processors busy")
    return Noise(
        verdict="noisy" if reasons else "quiet",
        reasons=tuple(reasons),
        drift=drifted,
        spread=spread_out,
        steal=steal,
        others=others,
        load=load,
    )


def drift(ticks: list[float]) -> float:
    """How much slower the last third of the ticks is than the first: 0.1 is 10 % (medians)."""
    third = len(ticks) // 3
    if not third:
        return 0.0
    return float(np.median(ticks[-third:]) / np.median(ticks[:third]) - 1)


def spread(ticks: list[float]) -> float:
    """Distance of the quartiles as a share of the median."""
    if not ticks:
        return 0.0
    low, middle, high = np.percentile(ticks, [25, 50, 75])
    return float((high - low) / middle)


def processors() -> Processors:
    """The counters at this moment; a child that ended counts as ours once it was waited for."""
    times = psutil.cpu_times()
    stolen = float(getattr(times, "steal", 0.0))
    idle = times.idle + float(getattr(times, "iowait", 0.0))
    total = float(sum(times[:8]))
    return Processors(total - idle - stolen, sum(_own()), stolen, total)


def _own() -> Iterator[float]:
    here = psutil.Process()
    mine = here.cpu_times()
    yield mine.user + mine.system + mine.children_user + mine.children_system
    for child in here.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            spent = child.cpu_times()
            yield spent.user + spent.system


def _load() -> float:
    return os.getloadavg()[0]
