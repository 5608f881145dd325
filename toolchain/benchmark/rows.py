"""Timed lanes -> rows and comparisons: what a `Benchmark` holds."""

from __future__ import annotations

import dataclasses
import itertools
import statistics as standard
from collections.abc import Iterator, Mapping, Sequence

from toolchain.benchmark import statistics
from toolchain.benchmark.candidate import Candidate, deflated
from toolchain.benchmark.lane import Lane
from toolchain.benchmark.statistics import Rounds
from toolchain.measurement import Comparison, Measurement
from toolchain.values import FileVerification, Interval

# A row and the timings behind it: for each process its rounds; none without numbers.
Timed = tuple[Measurement, Sequence[Rounds]]


def rows_of(
    lane: Lane, batches: Sequence[int], verified: Mapping[str, FileVerification]
) -> Iterator[Timed]:
    """A row a batch that the graph takes; one alone for a candidate that has no numbers at all."""
    base = _base(lane.candidate, verified.get(lane.candidate.sha256))
    if 0 in lane.failures:
        yield dataclasses.replace(base, batch=batches[0], failure=lane.failures[0]), ()
        return
    for batch in batches:
        if batch in lane.failures:
            yield dataclasses.replace(base, batch=batch, failure=lane.failures[batch]), ()
        elif batch in lane.series:
            yield _measured(base, lane, batch), lane.series[batch].processes


def _measured(base: Measurement, lane: Lane, batch: int) -> Measurement:
    series = lane.series[batch]
    counted = any(series.energy_mj)
    return dataclasses.replace(
        base,
        batch=batch,
        latency=statistics.summarise(series.processes, batch),
        load_ms=standard.median(lane.loads_ms),
        first_ms=standard.median(lane.firsts_ms),
        peak_mib=lane.peak_mib if batch == 1 else None,
        energy_mj=statistics.mean(series.energy_mj) if counted else None,
        nodes=lane.nodes,
    )


def _base(one: Candidate, quality: FileVerification | None) -> Measurement:
    return Measurement(
        file=one.name,
        sha256=one.sha256,
        format=one.format,
        precision=one.precision,
        runtime=one.runtime,
        provider=one.provider,
        threads=one.threads,
        batch=1,
        bytes=one.path.stat().st_size,
        zipped_bytes=deflated(one.path),
        top1=quality.accuracy if quality else None,
        top5=quality.top5 if quality else None,
        f1=quality.f1 if quality else None,
    )


def comparisons(made: Sequence[Timed]) -> Iterator[Comparison]:
    """Every pair of rows that took turns: the same thread count and batch."""
    groups: dict[tuple[int, int], list[int]] = {}
    for place, (row, _) in enumerate(made):
        if row.latency and row.latency.rounds > 1:
            groups.setdefault((row.threads, row.batch), []).append(place)
    for group in groups.values():
        pairs = list(itertools.combinations(group, 2))
        for other, place in pairs:
            found = _ratio(made[place][1], made[other][1], len(pairs))
            yield Comparison(place, other, found, statistics.verdict(found))


def _ratio(processes: Sequence[Rounds], others: Sequence[Rounds], pairs: int) -> Interval:
    if len(processes) == len(others):
        return statistics.ratio(processes, others, pairs)
    # One of them stayed in one process: all there is to compare are the rounds.
    flat = [[one for process in side for one in process] for side in (processes, others)]
    return statistics.ratio(flat[:1], flat[1:], pairs)
