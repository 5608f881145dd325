"""How far the calibrated start of QAT is from its float network, by method of ranges.

    python benchmarks/calibrated_starts.py runs/digits --recipe models/digits/recipe.toml

Looks at validation photos as they are and at three changed copies of each, which lie nearer to the
border between classes than photos do that somebody chose to take. Nothing needs their labels but
the column that counts right answers. The test split is not opened.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from peers.inputs import Inputs
from recorded import record

from toolchain.benchmark.machine import versions
from toolchain.cli import published
from toolchain.quantization.bias_correction import correct_biases, correction_images
from toolchain.quantization.calibrate import calibrate
from toolchain.quantization.fold import to_keras
from toolchain.quantization.integers import IntegerNetwork
from toolchain.quantization.snap import snap
from toolchain.quantization.stage import drawn, folded
from toolchain.training.batches import Examples
from toolchain.training.inference import Inference, Prepare
from toolchain.training.logarithms import log_softmax
from toolchain.training.stage import pixel_examples, preparation

METHODS = ("minmax", "percentile", "mse")
# Logits between the two best classes of the float network, up to which a photo is near the border.
NEAR = 5.0
Logits = NDArray[np.float64]


def changed(pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """The photos, uint8 [n, size, size, 3], as they are and in three ways that cost certainty."""
    real, random = pixels.astype(np.float32), np.random.default_rng(0)
    share = random.uniform(0.35, 0.65, (len(pixels), 1, 1, 1)).astype(np.float32)
    size = pixels.shape[1]
    small = tf.image.resize(real, [max(size // 5, 1)] * 2, method="area")
    copies = {
        "mixed": real * share + real[random.permutation(len(pixels))] * (1 - share),
        "blurred": tf.image.resize(small, [size, size]).numpy(),
        "upside down": (real[:, ::-1] - 128) * 0.5 + 128,
    }
    return {"as they are": pixels} | {
        name: np.clip(np.round(copy), 0, 255).astype(np.uint8) for name, copy in copies.items()
    }


def asked(model: Any, prepare: Prepare, sets: dict[str, NDArray[np.uint8]]) -> dict[str, Logits]:
    """Logits of every photo of each set, float64 [n, classes]."""
    inference, found = Inference(model, prepare), {}
    for name, pixels in sets.items():
        unasked, rows = np.zeros(len(pixels), np.int64), np.arange(len(pixels))
        found[name] = inference.logits(Examples(pixels, unasked, rows)).astype(np.float64)
    return found


def margins(logits: Logits, best: NDArray[np.int64]) -> Logits:
    """How far the first of two classes is before the second, [n]; `best` is [n, 2]."""
    pair = np.take_along_axis(logits, best, axis=1)
    return pair[:, 0] - pair[:, 1]


def compared(found: Logits, exact: Logits) -> dict[str, float]:
    """The start against the float network, on one set of photos."""
    best = exact.argsort(axis=1)[:, :-3:-1]
    truth = margins(exact, best)
    near = truth < NEAR
    off = (margins(found, best) - truth)[near]
    told, meant = log_softmax(found), log_softmax(exact)
    return {
        "near": int(near.sum()),
        "margin_off": float(np.sqrt((off**2).mean())) if near.any() else 0.0,
        "divergence": float((np.exp(meant) * (meant - told)).sum(axis=1).mean()),
        "agreement": float((found.argmax(axis=1) == best[:, 0]).mean()),
    }


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Every start on every set of photos; plain data for the results' file."""
    inputs = Inputs.of(given.run, given.recipe)
    recipe, dataset = inputs.recipe, inputs.dataset
    graph, prepare = folded(published.trained(inputs.run), recipe), preparation(recipe)
    rows = dataset.indices("validation")
    sets, labels = changed(inputs.pixels(rows)), dataset.label_array()[rows]
    exact = asked(to_keras(graph), prepare, sets)
    train = pixel_examples(dataset, "train")
    sample = drawn(train, recipe, recipe.quantize.calibration_images)
    fitting = drawn(train, recipe, correction_images(graph))
    starts = {}
    for method in METHODS:
        way = inputs.contract.preprocessing
        ranges = calibrate(graph, sample, prepare, way, method)
        corrected = correct_biases(graph, ranges, fitting, prepare)
        for name, start in ((method, graph), (f"{method}, biases corrected", corrected)):
            found = asked(IntegerNetwork(snap(start, ranges), ranges), prepare, sets)
            right = float((found["as they are"].argmax(axis=1) == labels).mean())
            each = {one: compared(found[one], exact[one]) for one in sets}
            starts[name] = {"right": right, "sets": each}
            print(f"{name}: {100 * right:.2f} %", flush=True)
    return {
        "name": inputs.run.name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "benchmarks/calibrated_starts.py", *sys.argv[1:]]),
        "versions": versions(("tensorflow",)),
        "images": len(rows),
        "float_right": float((exact["as they are"].argmax(axis=1) == labels).mean()),
        "starts": starts,
    }


def markdown(result: dict[str, Any]) -> str:
    sets = list(next(iter(result["starts"].values()))["sets"])
    first = next(iter(result["starts"].values()))["sets"]
    near = ", ".join(f"{first[one]['near']} {one}" for one in sets)
    heads = "".join(f" margin, {one} |" for one in sets)
    lines = [
        f"# {result['name']}: calibrated starts, {result['date'][:10]}",
        "",
        f"{result['images']} validation photos, float {100 * result['float_right']:.2f} %.",
        "Margin: root mean square of what that between the two best classes is off, of photos",
        f"within {NEAR:g} of the border ({near}).",
        "",
        f"    {result['command']}",
        "",
        f"| start | top-1 % | as float % | divergence |{heads}",
        "|---|---:|---:|---:|" + "---:|" * len(sets),
    ]
    for name, one in result["starts"].items():
        plain = one["sets"]["as they are"]
        figures = [f"{100 * one['right']:.2f}", f"{100 * plain['agreement']:.2f}"]
        figures += [f"{plain['divergence']:.5f}"]
        figures += [f"{one['sets'][which]['margin_off']:.2f}" for which in sets]
        lines.append(f"| {name} | " + " | ".join(figures) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--machine", default=f"{os.cpu_count()}-cores", help="for the file's name")
    given = parser.parse_args()
    result = measure(given)
    record(result, given.machine, f"calibrated-starts-{result['name']}", markdown(result))


if __name__ == "__main__":
    main()
