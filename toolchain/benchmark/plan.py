"""How long everything of a benchmark takes: processes, rounds, turns, and when to stop."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Final

from toolchain.recipe.sections import BenchmarkSection

# Rounds a process; turns of half a second with the defaults, short against a drift of the clock.
ROUNDS: Final = 2
WARMUP_RUNS: Final = 10
BATCH_ROUNDS: Final = 1
# A larger batch needs fewer inferences to settle, and only its throughput is asked for.
_BATCH_SHARE: Final = 0.2
# What a row takes beyond warm-up and timed turns: starting a process, and its larger batches. A
# row whose time is over has fewer runs than asked for, and says how many: four files and the Keras
# model stay within two minutes.
_START_SECONDS: Final = 0.6
# The first process warms the processor up, those after it only themselves.
_AGAIN_SHARE: Final = 0.2
_TURNS_FACTOR: Final = 1.3
_QUICK: Final[dict[str, Any]] = {"runs": 30, "seconds": 1.0, "warmup_seconds": 0.2, "processes": 3}


@dataclass(frozen=True, slots=True)
class Plan:
    """The time of one row.

    Attributes:
      processes: fresh ones, one after the other; rounds: turns in each.
      warmup_s: not timed, of the first process; again_s: of those after it; `WARMUP_RUNS` runs
        at least of each.
      turn_s: timed in a turn at least, and turn_runs runs at least.
      limit_s: when a row has taken so long, its turns are cut short.
      width: more processes are added until the interval of the median reaches this share to
        both sides, or the limit is reached; 0 asks for none.
    """

    processes: int
    rounds: int
    warmup_s: float
    again_s: float
    turn_s: float
    turn_runs: int
    limit_s: float
    width: float

    def of_batch(self, batch: int) -> Plan:
        """The same for one batch: less for those larger than one image."""
        if batch == 1:
            return self
        return dataclasses.replace(
            self,
            rounds=BATCH_ROUNDS,
            warmup_s=0.0,
            again_s=0.0,
            turn_s=_BATCH_SHARE * self.turn_s,
            turn_runs=2,
        )


def plan_of(section: BenchmarkSection) -> Plan:
    """The plan that a recipe's section asks for."""
    turns = section.processes * ROUNDS
    return Plan(
        processes=section.processes,
        rounds=ROUNDS,
        warmup_s=section.warmup_seconds,
        again_s=_AGAIN_SHARE * section.warmup_seconds,
        turn_s=section.seconds / turns,
        turn_runs=math.ceil(section.runs / turns),
        limit_s=_TURNS_FACTOR * section.seconds
        + section.warmup_seconds
        + section.processes * (_START_SECONDS + _AGAIN_SHARE * section.warmup_seconds),
        width=section.width,
    )


def quick(section: BenchmarkSection) -> BenchmarkSection:
    """The section for a look: seconds a file, the same method, wide intervals."""
    runtimes = tuple(one for one in section.runtimes if one != "keras")
    return dataclasses.replace(section, runtimes=runtimes, batches=section.batches[:2], **_QUICK)
