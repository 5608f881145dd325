"""Is the harness right? Its overhead, its false alarms, and the runtimes' own timers beside it.

    python benchmarks/timing.py runs/digits

takes the fp32 and int8-qat files of a finished run and writes results/<date>-<machine>-timing.json
and .md. Five minutes on two cores; run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from recorded import record

from toolchain.benchmark import machine
from toolchain.benchmark.candidate import candidates
from toolchain.benchmark.harness import benchmark
from toolchain.benchmark.noise import Watch
from toolchain.benchmark.preparation import made_up
from toolchain.contract import ExportedModel
from toolchain.files import sha256_file
from toolchain.recipe.sections import BenchmarkSection
from toolchain.runtimes import IsolatedRunner, read_contract
from toolchain.runtimes.worker import Worker

# Short turns, often: a busy machine changes within seconds.
REPEATS = 13
RUNS = 150
WARMUP = 50
AA_SESSIONS = 20
AA = BenchmarkSection(
    batches=(1,), processes=5, runs=60, seconds=0.8, warmup_seconds=0.2, runtimes=("litert",)
)


class Nothing:
    """A runner whose inference takes no time: what is measured is the harness alone."""

    contract = None

    def takes(self, batch):
        return True

    def run_tensor(self, tensor):
        return tensor


def overhead_ns() -> float:
    """Median duration that the child's loop gives an inference that does nothing."""
    worker = Worker(lambda *_, **__: Nothing())
    worker._runner, worker._tensor = Nothing(), np.zeros(1)
    _, (timings,) = worker._time(100_000)
    return float(np.median(timings))


def ours(path: Path, runs: int = RUNS) -> float:
    """p50 of one child, milliseconds."""
    size = read_contract(path).preprocessing.size
    pixels = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    with IsolatedRunner.open(path) as runner:
        runner.prepare(pixels)
        runner.time(WARMUP)
        return float(np.median(runner.time(runs)) / 1e6)


def litert_tool(path: Path, runs: int = RUNS) -> float:
    """p50 as ai_edge_litert.tools.benchmark_litert_model tells it, milliseconds.

    It prints two digits after the point, so its own list of durations is read from inside.
    """
    code = (
        "import sys, statistics\n"
        "from ai_edge_litert.tools import benchmark_litert_model as tool\n"
        "kept = []\n"
        "real = tool.statistics.median\n"
        "tool.statistics.median = lambda values: kept.append(real(values)) or kept[-1]\n"
        "tool.main()\n"
        "print('MEDIAN', kept[-1])\n"
    )
    arguments = ["--model", str(path), "--num_runs", str(runs), "--warmup_runs", str(WARMUP)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return float(done.stdout.rpartition("MEDIAN")[2])


def onnxruntime_profile(path: Path, runs: int = RUNS) -> tuple[float, float]:
    """p50 of the same runs, by our clock around them and by onnxruntime's own model_run events.

    Profiling slows each run a little; both clocks see it.
    """
    code = (
        "import json, sys, time\n"
        "import numpy as np, onnxruntime as ort\n"
        "from toolchain.runtimes import onnxruntime as room, read_contract\n"
        "from toolchain.runtimes.base import to_input\n"
        "from pathlib import Path\n"
        "real = ort.SessionOptions\n"
        "def profiled():\n"
        "    options = real()\n"
        "    options.enable_profiling = True\n"
        "    options.profile_file_prefix = sys.argv[2]\n"
        "    return options\n"
        "room.ort.SessionOptions = profiled\n"
        "runner = room.OnnxRunner(Path(sys.argv[1]))\n"
        "size = runner.contract.preprocessing.size\n"
        "pixels = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)\n"
        "tensor, times = to_input(pixels, runner.contract), []\n"
        "for _ in range(int(sys.argv[3])):\n"
        "    started = time.perf_counter_ns()\n"
        "    runner.run_tensor(tensor)\n"
        "    times.append(time.perf_counter_ns() - started)\n"
        "events = json.loads(Path(runner._session.end_profiling()).read_text())\n"
        "own = [one['dur'] for one in events if one['name'] == 'model_run']\n"
        "assert len(own) == len(times)\n"
        "print(np.median(times[50:]) / 1e6, np.median(own[50:]) / 1e3)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", code, str(path), str(Path(folder) / "p"), str(runs)],
            capture_output=True,
            text=True,
            check=True,
        )
    mine, own = done.stdout.split()
    return float(mine), float(own)


def against_litert(path: Path) -> dict:
    """Medians of both in turns, and the median of their ratios."""
    pairs = []
    for turn in range(REPEATS):
        first, second = (ours, litert_tool) if turn % 2 else (litert_tool, ours)
        found = {first.__name__: first(path), second.__name__: second(path)}
        pairs.append((found["ours"], found["litert_tool"]))
    return agreement(path, "LiteRT's benchmark_litert_model", pairs)


def against_onnxruntime(path: Path) -> dict:
    pairs = [onnxruntime_profile(path) for _ in range(REPEATS)]
    return agreement(path, "onnxruntime's profile, the same runs", pairs)


def agreement(path: Path, other: str, pairs: list[tuple[float, float]]) -> dict:
    ratios = sorted(mine / own for mine, own in pairs)
    return {
        "file": path.name,
        "other": other,
        "ours_ms": statistics.median(mine for mine, _ in pairs),
        "other_ms": statistics.median(own for _, own in pairs),
        "ratio": statistics.median(ratios),
        "least": ratios[0],
        "most": ratios[-1],
    }


def false_alarms(path: Path, sessions: int) -> dict:
    """Sessions in which a file and its copy were called different."""
    contract = read_contract(path)
    found, ratios, widths = 0, [], []
    with tempfile.TemporaryDirectory() as folder:
        copies = [Path(folder) / f"{name}{path.suffix}" for name in ("one", "other")]
        for copy in copies:
            copy.write_bytes(path.read_bytes())
        models = [ExportedModel(copy, sha256_file(copy), contract) for copy in copies]
        for _ in range(sessions):
            made = benchmark(candidates(models, AA), AA, {}, made_up(), command="")
            (one,) = made.comparisons
            found += one.verdict != "inconclusive"
            ratios.append(one.ratio.value)
            widths.append(one.ratio.high / one.ratio.low - 1)
            print(f"  {path.name}: {one.ratio} {one.verdict}", flush=True)
    return {
        "file": path.name,
        "sessions": sessions,
        "false_alarms": found,
        "median_ratio": statistics.median(ratios),
        "median_width": statistics.median(widths),
    }


def markdown(result: dict) -> str:
    lines = [
        f"# The harness itself, {result['date'][:10]}",
        "",
        f"{result['machine']['processor']}, {result['machine']['logical cores']} cores; "
        f"LiteRT {result['machine']['ai-edge-litert']}, "
        f"onnxruntime {result['machine']['onnxruntime']}. Noise while it ran: "
        f"{result['noise']['verdict']} ({'; '.join(result['noise']['reasons']) or 'nothing'}).",
        "",
        f"    {result['command']}",
        "",
        f"Overhead a run: {result['overhead_ns']:.0f} ns.",
        "",
        "| file | beside | ours ms | theirs ms | ratio | least to most |",
        "|---|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {one['file']} | {one['other']} | {one['ours_ms']:.4f} | {one['other_ms']:.4f} | "
        f"{one['ratio']:.3f} | {one['least']:.3f} to {one['most']:.3f} |"
        for one in result["agreement"]
    ]
    lines += [
        "",
        "| a file against its copy | sessions | called different | median ratio | median width |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {one['file']} | {one['sessions']} | {one['false_alarms']} | "
        f"{one['median_ratio']:.4f} | {one['median_width']:.1%} |"
        for one in result["aa"]
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--sessions", type=int, default=AA_SESSIONS)
    parser.add_argument("--machine", default=f"{os.cpu_count()}-cores", help="for the file's name")
    given = parser.parse_args()
    export = given.run / "export"
    files = sorted(export.glob("*.fp32.*")) + sorted(export.glob("*.int8-qat.*"))
    watch, started = Watch(), time.monotonic()
    watch.tick()
    tables = []
    for path in files:
        tables.append((against_litert if path.suffix == ".tflite" else against_onnxruntime)(path))
        print(tables[-1], flush=True)
        watch.tick()
    aa = [false_alarms(path, given.sessions) for path in files if path.name.endswith("qat.tflite")]
    watch.tick()
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python benchmarks/timing.py {given.run} --sessions {given.sessions}",
        "machine": machine.describe(),
        "noise": dataclasses.asdict(watch.noise()),
        "overhead_ns": overhead_ns(),
        "agreement": tables,
        "aa": aa,
        "seconds": round(time.monotonic() - started),
    }
    record(result, given.machine, "timing", markdown(result))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
