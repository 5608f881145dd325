"""Our int8 files and those of other quantizers from the same float model, side by side.

    python benchmarks/quantization.py runs/digits --recipe models/digits/recipe.toml

Every peer makes its file in a process of its own, calibrated on the same train photos as ours. All
files are asked about the same test photos and timed in the same interleaved rounds. What a peer
lacks, where it crashes or runs out of time, is a row that says so. `peers-requirements.txt` has the
peers.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from peers.files import candidates_of, write_contracts
from peers.inputs import Inputs
from peers.table import markdown
from recorded import record

from toolchain.benchmark.candidate import Candidate
from toolchain.benchmark.harness import benchmark
from toolchain.benchmark.machine import versions
from toolchain.benchmark.preparation import made_up
from toolchain.data.limit import drawn_rows
from toolchain.errors import ToolchainError
from toolchain.runtimes import IsolatedRunner
from toolchain.saved import to_plain
from toolchain.verification.statistics import wilson

# Peer -> the files it makes.
PEERS = {
    "tflite-converter": ("converter-ptq.tflite",),
    "onnxruntime": ("quantize-static.onnx",),
    "ai-edge-quantizer": ("ai-edge-quantizer.tflite",),
    "nncf": ("openvino-nncf.xml",),
    "tfmot": ("tfmot-qat.tflite", "tf2onnx-qat.onnx"),
}
PACKAGES = (
    "tensorflow", "tensorflow-model-optimization", "tf2onnx", "onnxruntime", "ai-edge-litert",
    "ai-edge-quantizer", "openvino", "nncf",
)  # fmt: skip
IMAGES_A_REQUEST_S = 300.0


def make_peer(peer: str, given: argparse.Namespace, out: Path) -> dict[str, str]:
    """Let a peer make its files in a child; returns file -> why it is missing."""
    command = [sys.executable, "-m", "peers.build", peer, given.run, given.recipe, out]
    environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3")
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *sys.path[1:]])
    started, log = time.monotonic(), out / f"{peer}.log"
    with log.open("w") as file:
        try:
            done = subprocess.run(
                [*map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                timeout=given.limit,
                check=False,
            )
            why = "" if done.returncode == 0 else _last_line(log)
        except subprocess.TimeoutExpired:
            why = f"not made within {given.limit:g} s"
    print(f"{peer}: {time.monotonic() - started:.0f} s {why}", flush=True)
    return {name: why or "made no file" for name in PEERS[peer] if not (out / name).exists()}


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else "ended without a word"


def called(rows: list[Candidate], pixels: np.ndarray) -> tuple[dict[str, np.ndarray], dict]:
    """File -> the class it gave each photo; and file -> why it gave none."""
    found, missing = {}, {}
    for row in rows:
        try:
            with IsolatedRunner.open(
                row.opens, worker=row.worker, timeout_s=IMAGES_A_REQUEST_S
            ) as runner:
                found[row.name] = runner.run(pixels).argmax(axis=1)
        except (ToolchainError, RuntimeError) as error:
            missing[row.name] = str(error).splitlines()[0][:200]
        print(f"asked {row.name}", flush=True)
    return found, missing


def measure(given: argparse.Namespace, out: Path) -> dict:
    """Make, ask and time everything; plain data for the results' file."""
    inputs = Inputs.of(given.run, given.recipe)
    missing = {}
    for peer, names in PEERS.items():
        if peer in given.without:
            missing |= dict.fromkeys(names, "left out")
        else:
            missing |= make_peer(peer, given, out)
    files = [out / name for names in PEERS.values() for name in names if name not in missing]
    write_contracts(inputs, [path for path in files if path.suffix != ".xml"], missing)
    section = dataclasses.replace(
        inputs.recipe.benchmark, threads=(given.threads,), batches=(1,), providers=("cpu",)
    )
    rows = candidates_of(inputs, [path for path in files if path.name not in missing], section)
    tested = drawn_rows(inputs.dataset, "test", given.images, seed=0)
    pixels = inputs.pixels(tested)
    labels = inputs.dataset.label_array()[tested]
    answers, failed = called(rows, pixels)
    rows = [row for row in rows if row.name not in failed]
    timed = benchmark(rows, section, {}, made_up(), command="")
    base = answers[inputs.float_onnx.name]
    return {
        "name": inputs.run.name,
        "backbone": inputs.recipe.model.backbone,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "benchmarks/quantization.py", *sys.argv[1:]]),
        "versions": versions(PACKAGES),
        "calibration": len(inputs.calibration_rows),
        "images": len(labels),
        "missing": missing | failed,
        "quality": {
            name: dataclasses.asdict(wilson(int((one == labels).sum()), len(one)))
            | {"agreement": float((one == base).mean())}
            for name, one in answers.items()
        },
        "benchmark": to_plain(timed),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--images", type=int, default=None, help="test photos; default all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=float, default=900.0, help="seconds a peer may take")
    parser.add_argument("--without", nargs="*", default=[], choices=list(PEERS), metavar="PEER")
    parser.add_argument("--machine", default=f"{os.cpu_count()}-cores", help="for the file's name")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(given, Path(folder))
    record(result, given.machine, f"quantization-{result['name']}", markdown(result))


if __name__ == "__main__":
    main()
