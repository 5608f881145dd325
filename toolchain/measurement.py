"""How fast files are: the values that `benchmark` makes, and reads from elsewhere.

A `Benchmark` is one session on one machine; a phone's log is another, beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from toolchain.errors import ModelError
from toolchain.saved import load_as
from toolchain.values import Interval

BENCHMARK_SCHEMA: Final = 2
# Of the intervals of all ratios of one batch and thread count together: in the other sessions at
# least one misses. A little above the 95 % that are promised, so that counting simulated sessions
# can show it.
JOINT_CONFIDENCE: Final = 0.96


@dataclass(frozen=True, slots=True)
class Latency:
    """How long one inference of a whole batch takes, milliseconds, with 95 % intervals.

    Attributes:
      runs: timed inferences; rounds: turns that they were spread over.
      p50_ms: the median.
      p90_ms, p99_ms: the tail; None where a phone's log does not tell them.
      throughput: images a second, from the mean.
    """

    runs: int
    rounds: int
    p50_ms: Interval
    p90_ms: Interval | None
    p99_ms: Interval | None
    throughput: Interval


@dataclass(frozen=True, slots=True)
class Measurement:
    """One model file run in one way: a row.

    Attributes:
      file, sha256, format, precision: which; a text is empty where it is not known.
      runtime: "litert", "onnxruntime" or "keras"; provider: what it was asked to run on.
      threads, batch: how; batch 1 is MLPerf's single stream, a larger one its offline scenario.
      bytes, zipped_bytes: as it is, 0 where a phone's log does not tell; and deflated as in an
        app's package.
      latency: None when there are no numbers; `failure` then says why.
      load_ms, first_ms: opening the file; the first inference.
      peak_mib: peak memory of the child process that ran it, MiB.
      energy_mj: millijoules an image, of the whole processor or GPU.
      nodes: what really ran it -> number of the graph's nodes there; empty where nobody tells.
      top1, top5: on the test split as verify measured them; f1: the macro average (0..1).
      failure: why there are no numbers; empty when there are. A None is a number not known.
    """

    file: str
    sha256: str
    format: str
    precision: str
    runtime: str
    provider: str
    threads: int
    batch: int
    bytes: int
    zipped_bytes: int | None
    latency: Latency | None = None
    load_ms: float | None = None
    first_ms: float | None = None
    peak_mib: float | None = None
    energy_mj: Interval | None = None
    nodes: dict[str, int] = field(default_factory=dict)
    top1: Interval | None = None
    top5: Interval | None = None
    f1: float | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two rows that took turns in the same rounds.

    Attributes:
      row, other: indices into the measurements.
      ratio: p50 of `row` / p50 of `other`, below 1 when `row` is faster. The intervals of one
        batch and thread count hold together, at `JOINT_CONFIDENCE`.
      verdict: "faster" or "slower", or "inconclusive" when the interval of the ratio spans 1.
    """

    row: int
    other: int
    ratio: Interval
    verdict: str


@dataclass(frozen=True, slots=True)
class Noise:
    """What else went on while the rows were timed.

    Attributes:
      verdict: "quiet" or "noisy"; reasons: why it is noisy, one sentence each.
      drift: how much slower a fixed piece of work became from the first rounds to the last;
        spread: distance of its quartiles; both as shares of its duration.
      steal: share of processor time that the hypervisor gave to others, 0..1.
      others: processors that other programs kept busy, on average.
      load: load average of one minute before and after.
    """

    verdict: str
    reasons: tuple[str, ...]
    drift: float
    spread: float
    steal: float
    others: float
    load: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Preparation:
    """From a photo's bytes to the pixels of the input, apart from inference.

    Attributes:
      photos: what was decoded, in words; size: width and height after the resize, pixels.
      decode_ms, resize_ms: median over the photos, milliseconds a photo, one thread.
    """

    photos: str
    size: int
    decode_ms: Interval
    resize_ms: Interval


@dataclass(frozen=True, slots=True)
class Benchmark:
    """All rows of one session on one machine.

    Attributes:
      machine: processor, cores, flags, memory, operating system and versions, as text.
      date: UTC, ISO 8601; empty when a phone's log does not tell it.
      command: what re-makes it.
      measurements: the rows.
      comparisons: every pair of rows that took turns with each other.
      noise: None for a log of another machine.
      preparation: one entry an input size.
      energy: what the energy was read from; empty without a counter.
      data_sha256: of the dataset whose test split gave top-1; empty without a run.
      schema: of this JSON; another number is refused.
    """

    machine: dict[str, str]
    date: str
    command: str
    measurements: tuple[Measurement, ...]
    comparisons: tuple[Comparison, ...] = ()
    noise: Noise | None = None
    preparation: tuple[Preparation, ...] = ()
    energy: str = ""
    data_sha256: str = ""
    schema: int = BENCHMARK_SCHEMA


def load_benchmark(path: Path) -> Benchmark:
    """Read a saved `Benchmark`; a ModelError says that it is none, or of another schema."""
    made = load_as(Benchmark, path, remedy="give the JSON of toolchain benchmark")
    if made.schema != BENCHMARK_SCHEMA:
        raise ModelError(
            f"expected results of schema {BENCHMARK_SCHEMA}, received {made.schema}",
            str(path),
            "measure again with this version of the toolchain",
        )
    return made
