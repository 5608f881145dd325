"""Which file to ship, and why: the rules behind the first lines of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from toolchain.measurement import Benchmark, Measurement
from toolchain.report import words
from toolchain.values import FileVerification, Verification

FORMATS: Final = ("tflite", "onnx")
# Accuracies are shares of counted images; this is far below one image and far above rounding.
_SLACK: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Choice:
    """The file of one format to ship.

    Attributes:
      format: "tflite" or "onnx".
      file: its name; empty when no file of the format may be shipped.
      reason: why, one or two sentences.
      accuracy: top-1 in 0..1, None without a file.
      p50_ms: milliseconds an image, None when it was not measured.
      bytes: size of the file, None when it was not measured.
    """

    format: str
    file: str
    reason: str
    accuracy: float | None = None
    p50_ms: float | None = None
    bytes: int | None = None


def choose(
    verification: Verification, benchmark: Benchmark | None, accuracy_drop: float
) -> tuple[Choice, ...]:
    """One choice a format: the fastest of the files that passed and are accurate enough.

    A file is accurate enough when it loses at most `accuracy_drop` points (0.5 means half a
    percentage point) against the best file of its format that passed. Speed is the p50 latency
    with the fewest threads and the first provider that were measured. Where nothing was measured,
    the most accurate file is chosen.
    """
    speeds = Speeds.of(benchmark)
    present = [one for one in FORMATS if any(f.format == one for f in verification.files)]
    return tuple(_choose(one, verification.files, speeds, accuracy_drop) for one in present)


def near_best(accuracies: Sequence[float], accuracy_drop: float) -> list[int]:
    """Positions of those, in 0..1, that lose at most `accuracy_drop` points against the best."""
    best, allowed = max(accuracies), accuracy_drop / 100 + _SLACK
    return [at for at, one in enumerate(accuracies) if best - one <= allowed]


def _choose(
    kind: str, files: Sequence[FileVerification], speeds: Speeds, accuracy_drop: float
) -> Choice:
    passed = [file for file in files if file.format == kind and not file.failures]
    if not passed:
        return Choice(kind, "", f"No .{kind} file passed verify; none should be shipped.")
    accurate = near_best([file.accuracy.value for file in passed], accuracy_drop)
    near = [passed[at] for at in accurate]
    timed = [file for file in near if file.file in speeds.timed]
    if not timed:
        chosen = max(near, key=lambda file: file.accuracy.value)
        reason = _most_accurate(kind, passed)
        return Choice(kind, chosen.file, reason, chosen.accuracy.value)
    chosen = min(timed, key=lambda file: speeds.timed[file.file].p50_ms)
    row = speeds.timed[chosen.file]
    reason = _fastest(chosen, near, passed, speeds, accuracy_drop)
    return Choice(kind, chosen.file, reason, chosen.accuracy.value, row.p50_ms, row.row.bytes)


@dataclass(frozen=True, slots=True)
class Timed:
    """A row that has numbers, and its p50 latency in milliseconds an image."""

    row: Measurement
    p50_ms: float


@dataclass(frozen=True, slots=True)
class Speeds:
    """What decides about speed.

    Attributes:
      timed: file -> its row of batch 1 with the fewest threads; of several providers the first.
      same: pairs of files whose difference in speed is inconclusive in these rows.
    """

    timed: Mapping[str, Timed]
    same: frozenset[tuple[str, str]]

    @staticmethod
    def of(benchmark: Benchmark | None) -> Speeds:
        """From all rows that were measured."""
        rows = benchmark.measurements if benchmark else ()
        found: dict[str, Timed] = {}
        for row in rows:
            if row.latency is None or row.batch != 1:
                continue
            if row.file not in found or row.threads < found[row.file].row.threads:
                found[row.file] = Timed(row, row.latency.p50_ms.value)
        kept = [one.row for one in found.values()]
        pairs = [
            (rows[pair.row], rows[pair.other])
            for pair in (benchmark.comparisons if benchmark else ())
            if pair.verdict == "inconclusive"
        ]
        same = {(a.file, b.file) for a, b in pairs if a in kept and b in kept}
        return Speeds(found, frozenset(same | {(b, a) for a, b in same}))


def _most_accurate(kind: str, passed: Sequence[FileVerification]) -> str:
    if len(passed) == 1:
        return f"The only .{kind} file that passed verify; speed was not measured."
    return (
        f"The most accurate of the {len(passed)} .{kind} files that passed verify; "
        "speed was not measured, `make benchmark` may change the answer."
    )


def _fastest(
    chosen: FileVerification,
    near: Sequence[FileVerification],
    passed: Sequence[FileVerification],
    speeds: Speeds,
    accuracy_drop: float,
) -> str:
    row = speeds.timed[chosen.file]
    measured = f"{words.milliseconds(row.p50_ms)} ms an image ({words.setup(row.row)})"
    rivals = [file for file in passed if file.file != chosen.file and file.file in speeds.timed]
    if not rivals:
        return f"The only .{chosen.format} file that passed verify and was measured: {measured}."
    left_out = len(passed) - len(near)
    accurate = f" and lost at most {accuracy_drop:g} points of accuracy" if left_out else ""
    against = " ".join(_against(chosen, rival, speeds) for rival in rivals)
    return f"The fastest .{chosen.format} file that passed verify{accurate}: {measured}. {against}"


def _against(chosen: FileVerification, rival: FileVerification, speeds: Speeds) -> str:
    mine, other = speeds.timed[chosen.file], speeds.timed[rival.file]
    points = 100 * (chosen.accuracy.value - rival.accuracy.value)
    accuracy = f"{abs(points):.1f} points {'more' if points > 0 else 'less'} accuracy"
    if abs(points) < 0.05:
        accuracy = "the same accuracy"
    speed = _times(other.p50_ms / mine.p50_ms, "faster", "slower")
    if (chosen.file, rival.file) in speeds.same:
        speed = "speed not told apart"
    size = _times(other.row.bytes / mine.row.bytes, "smaller", "larger")
    return f"Against {rival.file}: {speed}, {size}, {accuracy}."


def _times(ratio: float, better: str, worse: str) -> str:
    if 0.95 < ratio < 1.05:
        return f"not {better}"
    return f"{ratio:.1f}× {better}" if ratio > 1 else f"{1 / ratio:.1f}× {worse}"
