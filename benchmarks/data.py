"""Feeding training from photos: ours against `tf_keras.utils.image_dataset_from_directory`.

    TOOLCHAIN_DATA=/data python benchmarks/data.py

Reads the 4,000 photos of cats_vs_dogs.tar for speed and CIFAR-10 for memory, both unpacked into the
same class folders for both sides. Writes benchmarks/results/<date>-<machine>-data.json and .md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from recorded import RESULTS, record

from toolchain.benchmark.machine import describe
from toolchain.data.parallel import in_threads
from toolchain.data.stage import build_dataset
from toolchain.images.decode import read_file
from toolchain.images.preprocess import Frame, pixels_of
from toolchain.recipe import parse_recipe
from toolchain.values import Dataset

BATCH = 32
SPEED_SIZE = 160
MEMORY_SIZE = 96
MEMORY_COUNTS = (4_000, 60_000)
LATER_SECONDS = 1.0
FIRST_AT_LEAST, LATER_AT_LEAST = 0.9, 15.0
KERAS = "image_dataset_from_directory"


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        _child(*arguments.child)
        return
    data = Path(os.environ["TOOLCHAIN_DATA"]) / "datasets"
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        work = Path(scratch)
        machine = describe()
        photos = _unpack(data / "cats_vs_dogs.tar", work / "cats", _kaggle_class)
        speed = _speed(photos, work, arguments.rounds)
        memory = []
        if not arguments.no_memory:
            archive = data / "cifar10.tar.xz"
            memory = [
                _memory(archive, count, side, work) for count in MEMORY_COUNTS for side in SIDES
            ]
    result = {
        "machine": machine | {"load at end": " ".join(f"{load:.2f}" for load in os.getloadavg())},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"TOOLCHAIN_DATA=/data python benchmarks/data.py --rounds {arguments.rounds}",
        "photos": 4000,
        "size": SPEED_SIZE,
        "batch": BATCH,
        "rounds": arguments.rounds,
        "speed": speed,
        "memory": memory,
    }
    _write(result, arguments.results)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="rounds, each side once a round")
    parser.add_argument("--no-memory", action="store_true", help="leave the memory rows out")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--scratch", help="folder for unpacked photos and caches")
    parser.add_argument("--child", nargs=3, metavar=("SIDE", "PHOTOS", "SIZE"))
    return parser.parse_args()


def _kaggle_class(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


def _unpack(archive: Path, folder: Path, class_of: Callable[[str], str], most: int = 0) -> Path:
    """Photos into class folders; at most `most` of them, the same number a class."""
    taken: dict[str, int] = defaultdict(int)
    with tarfile.open(archive) as tar:
        for member in tar:
            if not member.isreg() or not member.name.endswith(".jpg"):
                continue
            path = Path(member.name)
            label = class_of(path.name) or path.parent.name
            if most and taken[label] >= most // 10:
                continue
            taken[label] += 1
            target = folder / label / f"{path.parent.parent.name}-{path.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(tar.extractfile(member).read())
    return folder


# The two sides: each gives batches of 32 with labels, shuffled, as tensors in TensorFlow's hands.


def _keras(photos: Path, size: int) -> Any:
    import tf_keras

    return tf_keras.utils.image_dataset_from_directory(
        photos, image_size=(size, size), batch_size=BATCH, seed=1
    )


def _keras_prefetch(photos: Path, size: int) -> Any:
    import tensorflow as tf

    return _keras(photos, size).prefetch(tf.data.AUTOTUNE)


def _keras_cache(photos: Path, size: int) -> Any:
    import tensorflow as tf

    return _keras(photos, size).cache().prefetch(tf.data.AUTOTUNE)


class _Ours:
    """What the training stage does: a Dataset and its shuffled batches, uint8 as they are stored.

    `form` is what a batch is handed over as: "numpy" as our loader gives it to the training step,
    "uint8" as the tensor that the step begins with, "float32" as Keras' loader gives it.
    """

    def __init__(self, photos: Path, size: int, gib: float = 16.0, form: str = "numpy") -> None:
        self.work = tempfile.TemporaryDirectory(dir=photos.parent)
        table = {"data": {"path": str(photos), "cache_gib": gib}, "input": {"size": size}}
        out = Path(self.work.name) / "out"
        out.mkdir()
        recipe = parse_recipe(table, name="benchmark")
        self.dataset = build_dataset(recipe, out, Path(self.work.name) / "cache")
        self.epoch = 0
        self.form = form

    def __iter__(self) -> Iterator[Any]:
        import tensorflow as tf

        from toolchain.training.tensors import lent

        self.epoch += 1
        for inputs, labels in _examples(self.dataset).shuffled(BATCH, 1, self.epoch):
            if self.form == "numpy":
                yield inputs, labels
                continue
            pixels = lent(inputs)
            yield (tf.cast(pixels, tf.float32) if self.form == "float32" else pixels), labels


class _DecoderAlone:
    """What our decoder takes at least: every photo opened, turned to RGB and resized; no more.

    Neither hashed nor stored nor split, so that its distance from "ours" is what those cost.
    """

    def __init__(self, photos: Path, size: int) -> None:
        self.paths, self.frame = sorted(photos.rglob("*.jpg")), Frame(size)

    def __iter__(self) -> Iterator[Any]:
        read = ((path.name, read_file(path)) for path in self.paths)
        decoded = in_threads(read, lambda name, data: pixels_of(data, name, self.frame))
        while batch := list(itertools.islice(decoded, BATCH)):
            yield np.stack(batch), None


def _examples(dataset: Dataset) -> Any:
    from toolchain.training.batches import Examples

    rows = np.arange(len(dataset.names), dtype=np.int64)
    return Examples(dataset.pixels(), dataset.label_array(), rows)


FEEDS: dict[str, Callable[[Path, int], Any]] = {
    KERAS: _keras,
    f"{KERAS}, .prefetch": _keras_prefetch,
    f"{KERAS}, .cache (in memory), .prefetch": _keras_cache,
    "ours": _Ours,
    "ours, as uint8 tensors": lambda photos, size: _Ours(photos, size, form="uint8"),
    "ours, as float32 tensors": lambda photos, size: _Ours(photos, size, form="float32"),
    "our decoder alone": _DecoderAlone,
    "ours, streamed (cache_gib = 0)": lambda photos, size: _Ours(photos, size, 0.0),
}
SIDES = (KERAS, "ours", "ours, streamed (cache_gib = 0)")


def _epoch(feed: Any) -> int:
    """Read every batch; on a CPU a tensor that was handed over is complete. Returns the photos."""
    return sum(int(pixels.shape[0]) for pixels, _ in feed)


def _later(feed: Any) -> float:
    """Photos/s of whole epochs, of as many as take a second together."""
    started, total, seconds = time.perf_counter(), 0, 0.0
    while seconds < LATER_SECONDS:
        total += _epoch(feed)
        seconds = time.perf_counter() - started
    return total / seconds


def _speed(photos: Path, work: Path, rounds: int) -> list[dict[str, Any]]:
    for path in photos.rglob("*.jpg"):
        path.read_bytes()  # into the page cache, for everyone
    for make in (_keras, _Ours):
        _epoch(make(photos, SPEED_SIZE))  # TensorFlow's own start
    first: dict[str, list[float]] = defaultdict(list)
    later: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds):
        # Another order a round: no side always follows the same other.
        names = list(FEEDS)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            started = time.perf_counter()
            feed = FEEDS[name](photos, SPEED_SIZE)
            count = _epoch(feed)
            first[name].append(count / (time.perf_counter() - started))
            later[name].append(_later(feed))
            del feed
    return [
        {
            "feed": name,
            "first_epoch": _spread(first[name]),
            "later_epochs": _spread(later[name]),
            "first_ratio": _spread([a / b for a, b in zip(first[name], first[KERAS], strict=True)]),
            "later_ratio": _spread([a / b for a, b in zip(later[name], later[KERAS], strict=True)]),
        }
        for name in FEEDS
    ]


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "least": round(min(values), 3),
        "most": round(max(values), 3),
    }


def _memory(archive: Path, count: int, side: str, work: Path) -> dict[str, Any]:
    """Two processes: one builds (for Keras: does nothing), one feeds two epochs."""
    photos = work / f"cifar{count}"
    if not photos.exists():
        _unpack(archive, photos, lambda _: "", 0 if count == MEMORY_COUNTS[-1] else count)
    command = [sys.executable, __file__, "--child", side, str(photos), str(MEMORY_SIZE)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {"photos": count, "side": side, **json.loads(done.stdout.splitlines()[-1])}


def _child(side: str, photos: str, size: str) -> None:
    """Decode and feed two epochs; print how much memory each part took at its highest."""
    import tensorflow  # noqa: F401 - both sides start with it loaded

    start = _memory_now()
    parts, feed = {}, None
    for part in ("first_epoch", "second_epoch"):
        Path("/proc/self/clear_refs").write_text("5")  # the highest so far starts anew
        feed = FEEDS[side](Path(photos), int(size)) if feed is None else feed
        highest = 0
        for number, _ in enumerate(feed):
            if number % 50 == 0:
                highest = max(highest, _memory_now()["RssAnon"])
        now = _memory_now()
        parts[part] = {
            "peak_mib": now["VmHWM"],
            "above_start_mib": now["VmHWM"] - start["VmRSS"],
            "anonymous_mib": max(highest, now["RssAnon"]),
        }
    print(json.dumps({"start_mib": start["VmRSS"], **parts}))


def _memory_now() -> dict[str, int]:
    lines = Path("/proc/self/status").read_text().splitlines()
    pairs = (line.split(":") for line in lines if line.startswith(("VmRSS", "VmHWM", "RssAnon")))
    return {key: int(value.split()[0]) // 1024 for key, value in pairs}


def _write(result: dict[str, Any], folder: Path) -> None:
    processor = result["machine"]["processor"].lower()
    short = "-".join(word for word in ("intel", "amd", "arm", "apple") if word in processor)
    cores = result["machine"]["logical cores"]
    record(
        result, f"{short or platform.machine()}-{cores}-cores", "data", _markdown(result), folder
    )


def _markdown(result: dict[str, Any]) -> str:
    machine = result["machine"]
    lines = [
        f"# Feeding training, {result['date'][:10]}",
        "",
        f"`{result['command']}`",
        "",
        *(f"- {key}: {value}" for key, value in machine.items()),
        "",
        f"{result['photos']:,} photos of cats_vs_dogs in class folders, {SPEED_SIZE}x{SPEED_SIZE}, "
        f"batches of {BATCH}, shuffled. Photos/s, median of {result['rounds']} interleaved rounds "
        "(least to most). The first epoch starts with nothing but the files and ends with its last "
        "batch; in it, ours finds, decodes, hashes, splits and stores the photos. Keras' batches "
        "are float32 tensors; ours are uint8, which the training step casts in its compiled "
        "function, and are shown as the tensors that it takes too. *Our decoder alone* neither "
        "hashes nor stores nor splits: the first epoch cannot be faster. A ratio "
        "is taken inside each round.",
        "",
        "| feed | first epoch | against Keras | later epochs | against Keras |",
        "|---|--:|--:|--:|--:|",
    ]
    for row in result["speed"]:
        cells = [_cell(row["first_epoch"], ",.0f"), _cell(row["first_ratio"], ".2f")]
        cells += [_cell(row["later_epochs"], ",.0f"), _cell(row["later_ratio"], ".1f")]
        lines.append(f"| {row['feed']} | {' | '.join(cells)} |")
    ours = next(row for row in result["speed"] if row["feed"] == "ours")
    lines += [
        "",
        _judged("first epoch", ours["first_ratio"]["median"], FIRST_AT_LEAST),
        _judged("later epochs", ours["later_ratio"]["median"], LATER_AT_LEAST),
    ]
    if result["memory"]:
        lines += ["", *_memory_lines(result["memory"])]
    return "\n".join(lines) + "\n"


def _cell(spread: dict[str, float], form: str) -> str:
    return f"{spread['median']:{form}} ({spread['least']:{form}} to {spread['most']:{form}})"


def _judged(what: str, found: float, bound: float) -> str:
    return f"- {what}: {found:.2f} x, wanted {bound} x: {'held' if found >= bound else 'missed'}"


def _memory_lines(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "Memory in MiB of a process that feeds two epochs of CIFAR-10 at "
        f"{MEMORY_SIZE}x{MEMORY_SIZE}. *Above start*: highest resident memory less that of the "
        "process after importing TensorFlow. *Anonymous*: what is not backed by a file.",
        "",
        "| feed | photos | start | 1st epoch above start | anonymous "
        "| 2nd above start | anonymous |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in sorted(rows, key=lambda row: (row["side"] != KERAS, row["side"], row["photos"])):
        one, two = row["first_epoch"], row["second_epoch"]
        lines.append(
            f"| {row['side']} | {row['photos']:,} | {row['start_mib']} | {one['above_start_mib']} "
            f"| {one['anonymous_mib']} | {two['above_start_mib']} | {two['anonymous_mib']} |"
        )
    return lines


if __name__ == "__main__":
    main()
