"""Memory of training: few photos against many, in a process each.

    python benchmarks/training_memory.py

Photos of noise at 48x48, the embedded backbone, a head on its features and fine-tuning from
block_13 on features of the layers below: the stage `train` as a run calls it, checkpoints and all.
Writes benchmarks/results/<date>-<machine>-training-memory.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from recorded import RESULTS, record

from toolchain.benchmark.machine import describe
from toolchain.images.stored import write_header
from toolchain.recipe import Recipe, parse_recipe
from toolchain.values import PIXELS_FILE, Dataset

SIZE, CLASSES = 48, 10
COUNTS = (2_000, 20_000)
# Labels, orders and losses are numbers a photo: 18,000 photos more have some of them.
GROWTH_MIB_AT_MOST = 16.0
WAYS = {"on features": 16.0, "through the frozen layers": 0.0}


def recipe_for(features_gib: float) -> Recipe:
    return parse_recipe(
        {
            "data": {"path": "."},
            "input": {"size": SIZE},
            "model": {"weights": "embedded"},
            "train": {"epochs": 2, "features_gib": features_gib},
            "fine_tune": {"epochs": 1, "start": "block_13"},
        },
        name="memory",
    )


def noise(count: int, folder: Path) -> Dataset:
    """So many photos as the data stage leaves them; 7 of 10 are of train, 2 of validation."""
    path, random = folder / PIXELS_FILE, np.random.default_rng(0)
    start = write_header(path, count, SIZE)
    with path.open("r+b") as file:
        file.seek(start)
        for _ in range(count):
            file.write(random.bytes(SIZE * SIZE * 3))
    splits = ("train",) * 7 + ("validation",) * 2 + ("test",)
    return Dataset(
        folder=folder,
        classes=tuple(str(label) for label in range(CLASSES)),
        size=SIZE,
        names=(),
        labels=np.arange(count) % CLASSES,
        splits=[splits[place % 10] for place in range(count)],
        sha256=(),
    )


def child(count: int, features_gib: float) -> dict[str, float]:
    from toolchain.training.stage import train_model
    from toolchain.unfinished import Unfinished

    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        (work / "train").mkdir()
        dataset = noise(count, work)
        started = time.monotonic()
        trained = train_model(
            dataset, recipe_for(features_gib), work / "train", Unfinished(work, "train", {})
        )
        seconds = time.monotonic() - started
        kept = sum(path.stat().st_size for path in work.glob(".train*/*.npy"))
        pixels = (work / PIXELS_FILE).stat().st_size
    lines = Path("/proc/self/status").read_text().splitlines()
    memory = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if "kB" in line}
    return {
        "photos": count,
        "peak_mib": memory["VmHWM"],
        "pixels_mib": pixels / 2**20,
        "features_mib": kept / 2**20,
        "seconds": seconds,
        "epochs": [record.seconds for record in trained.history],
    }


def in_a_child(count: int, features_gib: float) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", str(count), str(features_gib)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def markdown(result: dict[str, Any]) -> str:
    machine = result["machine"]
    lines = [
        f"# Memory of training, {result['date'][:10]}",
        "",
        f"{machine['processor']}, {machine['logical cores']} cores; tensorflow "
        f"{machine['tensorflow']}. Load at start {machine['load at start']}, at end "
        f"{machine['load at end']}.",
        "",
        f"    {result['command']}",
        "",
        f"MobileNetV2 0.35 at {SIZE}x{SIZE}, a head for two epochs and fine-tuning from block_13 "
        "for one. *Peak* is the most memory that the process ever had resident (VmHWM), "
        "TensorFlow with it.",
        "",
        "| | photos | pixels, MiB | features, MiB | peak, MiB | train, s |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for way, rows in result["ways"].items():
        lines += [
            f"| {way} | {row['photos']:,} | {row['pixels_mib']:.0f} | {row['features_mib']:.0f} "
            f"| {row['peak_mib']:.0f} | {row['seconds']:.1f} |"
            for row in rows
        ]
    lines += ["", f"Wanted: at most {GROWTH_MIB_AT_MOST:g} MiB more for the many photos.", ""]
    lines += [
        f"- {way}: {growth:+.1f} MiB, {'held' if growth <= GROWTH_MIB_AT_MOST else 'missed'}"
        for way, growth in result["growth_mib"].items()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machine", default=f"{os.cpu_count()}-cores", help="for the file's name")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--child", nargs=2, type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(int(given.child[0]), given.child[1])))
        return
    machine = describe()
    ways = {way: [in_a_child(count, gib) for count in COUNTS] for way, gib in WAYS.items()}
    result = {
        "machine": machine | {"load at end": " ".join(f"{one:.2f}" for one in os.getloadavg())},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": "python benchmarks/training_memory.py",
        "ways": ways,
        "growth_mib": {
            way: many["peak_mib"] - few["peak_mib"] for way, (few, many) in ways.items()
        },
    }
    record(result, given.machine, "training-memory", markdown(result), given.results)


if __name__ == "__main__":
    main()
