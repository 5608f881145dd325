"""How far sound runtimes are apart: what the tolerances of golden vectors rest on.

    python benchmarks/goldens.py runs/digits runs/cats-vs-dogs-mobilenetv2

Every exported file of the runs answers its golden pictures and the first test photos in all ways
in which its runtime can be set up here: other kernels, other fusions, other numbers of threads and
photos at once. The first way is the one that recorded the goldens. Prints the largest difference
of a probability as JSON, a file a row.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from PIL import Image

from toolchain.benchmark.machine import describe
from toolchain.contract import Contract, read_contract_file
from toolchain.data.limit import drawn_rows
from toolchain.goldens.pictures import PICTURES
from toolchain.goldens.record import FOLDER, read_goldens
from toolchain.runtimes.base import to_input, to_probabilities
from toolchain.values import Dataset

Run = Callable[[np.ndarray], np.ndarray]
RESOLVERS = {
    "XNNPACK": OpResolverType.BUILTIN,
    "LiteRT kernels": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference kernels": OpResolverType.BUILTIN_REF,
}
LEVELS = ("ORT_ENABLE_ALL", "ORT_ENABLE_BASIC", "ORT_DISABLE_ALL")
# What a runtime takes unless it is told otherwise.
USUAL = ("XNNPACK", "ORT_ENABLE_ALL")
THREADS = (1, 2)
BATCH = 8


def litert(path: Path, kernels: str, threads: int) -> Run:
    interpreter = Interpreter(
        str(path), num_threads=threads, experimental_op_resolver_type=RESOLVERS[kernels]
    )
    interpreter.allocate_tensors()
    given, returned = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run(tensor: np.ndarray) -> np.ndarray:
        rows = []
        for row in tensor:
            interpreter.set_tensor(given["index"], row[None])
            interpreter.invoke()
            rows.append(interpreter.get_tensor(returned["index"]))
        return np.concatenate(rows)

    return run


def onnxruntime(path: Path, level: str, threads: int, batch: int) -> Run:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()

    def run(tensor: np.ndarray) -> np.ndarray:
        parts = range(0, len(tensor), batch)
        return np.concatenate(
            [session.run(None, {given.name: tensor[at : at + batch]})[0] for at in parts]
        )

    return run


def ways(path: Path, contract: Contract) -> dict[str, Run]:
    """Set-ups by name, that of the goldens first."""
    if contract.format == "tflite":
        return {
            f"{kernels}, {threads} threads": litert(path, kernels, threads)
            for kernels in RESOLVERS
            for threads in THREADS
        }
    batches = (1,) if contract.input.shape[0] == 1 else (1, BATCH)
    return {
        f"{level}, {threads} threads, batch {batch}": onnxruntime(path, level, threads, batch)
        for level in LEVELS
        for threads in THREADS
        for batch in batches
    }


def differences(path: Path, contract: Contract, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Way -> largest difference of a probability from the first way, a picture."""
    tensor, found = to_input(pixels, contract), {}
    for name, run in ways(path, contract).items():
        found[name] = to_probabilities(run(tensor), contract, str(path))
    first = next(iter(found.values()))
    return {name: np.abs(one - first).max(axis=1) for name, one in found.items()}


def pixels_of_run(run: Path, photos: int) -> np.ndarray:
    """The golden pictures and a draw of test photos, uint8 [n, size, size, 3]."""
    inside = run / "export" / FOLDER
    names = [image.pixels for image in read_goldens(run / "export").images]
    golden = np.stack([np.asarray(Image.open(inside / name)) for name in names])
    dataset = Dataset.load(run / "data")
    rows = drawn_rows(dataset, "test", photos, seed=0)
    return np.concatenate([golden, dataset.pixels()[rows]])


def summary(path: Path, contract: Contract, pixels: np.ndarray) -> dict[str, object]:
    """The largest differences of golden pictures and of photos, and which way shows the first."""
    found, golden = differences(path, contract, pixels), len(PICTURES)
    worst = max(found, key=lambda name: float(found[name][:golden].max()))
    usual = [one[:golden] for name, one in found.items() if name.startswith(USUAL)]
    photos = np.stack([one[golden:] for one in found.values()])
    return {
        "golden pictures, usual kernels": float(np.max(usual)),
        "golden pictures, any kernels": float(found[worst][:golden].max()),
        "in": worst,
        "photos, any kernels": float(photos.max()),
        "photos, 99th percentile of the worst way": float(np.percentile(photos, 99, axis=1).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--photos", type=int, default=200)
    given = parser.parse_args()
    rows = []
    for run in given.runs:
        pixels = pixels_of_run(run, given.photos)
        for name, entry in read_contract_file(run / "export").items():
            rows.append({"file": name} | summary(run / "export" / name, entry.contract, pixels))
    print(json.dumps({"machine": describe(), "files": rows}, indent=1))


if __name__ == "__main__":
    main()
