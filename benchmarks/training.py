"""Training a head on a frozen backbone: ours against plain Keras, the same photos and epochs.

    TOOLCHAIN_DATA=/data python benchmarks/training.py

Plain Keras is what its transfer learning guide does: `image_dataset_from_directory`, the backbone
with `training=False`, pooling, one dense layer, `fit`; its photos are cached in memory, so that an
epoch costs a forward pass and no decoding. Ours computes the features once. Each side is a process
of its own. Writes benchmarks/results/<date>-<machine>-training.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recorded import RESULTS, record

from toolchain.benchmark.machine import describe
from toolchain.data.containers import open_container
from toolchain.recipe import Recipe, parse_recipe
from toolchain.verification.statistics import wilson

SIZE = 160
WEIGHTS = "mobilenet_v2_1.0_160_no_top.h5"
# The bars are for 20 epochs: with fewer, what both sides do once weighs more.
BAR_EPOCHS, FASTER_AT_LEAST, POINTS_AT_MOST = 20, 12.0, 0.3
SIDES = ("ours", "plain Keras")


def recipe_for(folder: Path, data: Path, epochs: int) -> Recipe:
    """The head phase of cats-vs-dogs-mobilenetv2, every epoch of it."""
    return parse_recipe(
        {
            "data": {"path": str(folder), "validation": 0.1, "test": 0.25},
            "input": {"size": SIZE},
            "model": {"alpha": 1.0, "weights": str(data / "weights" / WEIGHTS)},
            "train": {"epochs": epochs, "patience": epochs},
            "fine_tune": {"epochs": 0},
        },
        name="head",
    )


def ours(recipe: Recipe, work: Path) -> dict[str, Any]:
    """From files to a trained head: decoding, features, epochs."""
    from toolchain.data.stage import build_dataset
    from toolchain.quantization.stage import restore
    from toolchain.training.inference import Inference
    from toolchain.training.stage import pixel_examples, preparation, train_model

    (work / "data").mkdir()
    (work / "train").mkdir()
    started = time.monotonic()
    dataset = build_dataset(recipe, work / "data")
    trained = train_model(dataset, recipe, work / "train")
    seconds = time.monotonic() - started
    model = Inference(restore(trained, recipe), preparation(recipe))
    _, accuracy = model.evaluate(pixel_examples(dataset, "test"))
    epochs = [record.seconds for record in trained.history]
    return {"seconds": seconds, "epochs": epochs, "top1": accuracy}


def plain_keras(recipe: Recipe, work: Path) -> dict[str, Any]:
    """The same from folders train, validation and test with our split's photos."""
    import tf_keras

    class Clock(tf_keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.begun = time.monotonic()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            epochs.append(time.monotonic() - self.begun)

    def photos(split: str, shuffle: bool) -> Any:
        read = tf_keras.utils.image_dataset_from_directory(
            work / "split" / split, image_size=(SIZE, SIZE), batch_size=32, shuffle=shuffle, seed=1
        )
        return read.cache().prefetch(2)

    epochs: list[float] = []
    started = time.monotonic()
    backbone = tf_keras.applications.MobileNetV2(
        input_shape=(SIZE, SIZE, 3), include_top=False, weights=recipe.model.weights
    )
    backbone.trainable = False
    image = tf_keras.Input((SIZE, SIZE, 3))
    features = backbone(tf_keras.applications.mobilenet_v2.preprocess_input(image), training=False)
    logits = tf_keras.layers.Dense(2)(tf_keras.layers.GlobalAveragePooling2D()(features))
    model = tf_keras.Model(image, logits)
    model.compile(
        tf_keras.optimizers.Adam(recipe.train.learning_rate),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        photos("train", True),
        validation_data=photos("validation", False),
        epochs=recipe.train.epochs,
        verbose=0,
        callbacks=[Clock()],
    )
    seconds = time.monotonic() - started
    accuracy = model.evaluate(photos("test", False), verbose=0)[1]
    return {"seconds": seconds, "epochs": epochs, "top1": accuracy}


def lay_out(work: Path) -> int:
    """The photos of our split as Keras wants them; returns how many are of test."""
    from toolchain.values import Dataset

    dataset = Dataset.load(work / "data")
    for name, split in zip(dataset.names, dataset.splits, strict=True):
        target = work / "split" / split / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(work / "photos" / name)
    return len(dataset.indices("test"))


def unpack(archive: Path, folder: Path) -> None:
    container = open_container(archive)
    names = {entry.name for entry in container.entries() if entry.name.endswith(".jpg")}
    for name, data in container.read(names):
        path = folder / Path(name).name.split(".")[0] / Path(name).name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def in_a_child(side: str, work: Path, given: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--epochs", str(given.epochs), "--child", side, str(work)]
    environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3")
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def markdown(result: dict[str, Any]) -> str:
    machine, sides = result["machine"], result["sides"]
    lines = [
        f"# Training a head, {result['date'][:10]}",
        "",
        f"{machine['processor']}, {machine['logical cores']} cores; tensorflow "
        f"{machine['tensorflow']}. Load at start {machine['load at start']}, at end "
        f"{machine['load at end']}.",
        "",
        f"    {result['command']}",
        "",
        f"MobileNetV2 at {SIZE}, frozen, and one dense layer on 4,000 photos of cats and dogs; "
        f"{result['epochs']} epochs. *Whole* is from files to the last epoch: for ours decoding, "
        "hashing, splitting and the features are in it, for Keras building and decoding once.",
        "",
        "| | whole, s | an epoch, s (least to most) | top-1, % of test | 95 % |",
        "|---|--:|--:|--:|---|",
    ]
    for name, side in sides.items():
        epochs = side["epochs"]
        low, high = (100 * end for end in side["interval"])
        lines.append(
            f"| {name} | {side['seconds']:.1f} | {statistics.median(epochs):.3f} "
            f"({min(epochs):.3f} to {max(epochs):.3f}) | {100 * side['top1']:.2f} "
            f"| {low:.1f} to {high:.1f} |"
        )
    held = result["held"]
    lines += [
        "",
        f"- whole: {result['faster']:.1f} x; wanted {FASTER_AT_LEAST} x for {BAR_EPOCHS} epochs: "
        f"{held['faster']}",
        f"- top-1: {result['points']:+.2f} points; wanted {POINTS_AT_MOST} at most to either side: "
        f"{held['points']}",
    ]
    return "\n".join(lines) + "\n"


def verdict(held: bool, epochs: int) -> str:
    if epochs < BAR_EPOCHS:
        return "not decided by so few epochs"
    return "held" if held else "missed"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--machine", default=f"{os.cpu_count()}-cores", help="for the file's name")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    given, data = arguments(), Path(os.environ["TOOLCHAIN_DATA"])
    if given.child:
        side, work = given.child[0], Path(given.child[1])
        run = ours if side == SIDES[0] else plain_keras
        print(json.dumps(run(recipe_for(work / "photos", data, given.epochs), work)))
        return
    machine = describe()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        unpack(data / "datasets" / "cats_vs_dogs.tar", work / "photos")
        mine = in_a_child(SIDES[0], work, given)
        tested = lay_out(work)
        theirs = in_a_child(SIDES[1], work, given)
    for side in (mine, theirs):
        whole = wilson(round(side["top1"] * tested), tested)
        side["interval"] = [whole.low, whole.high]
    faster, points = theirs["seconds"] / mine["seconds"], 100 * (mine["top1"] - theirs["top1"])
    result = {
        "machine": machine | {"load at end": " ".join(f"{one:.2f}" for one in os.getloadavg())},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"TOOLCHAIN_DATA=/data python benchmarks/training.py --epochs {given.epochs}",
        "epochs": given.epochs,
        "sides": dict(zip(SIDES, (mine, theirs), strict=True)),
        "faster": faster,
        "points": points,
        "held": {
            "faster": verdict(faster >= FASTER_AT_LEAST, given.epochs),
            "points": verdict(abs(points) <= POINTS_AT_MOST, given.epochs),
        },
    }
    record(result, given.machine, "training", markdown(result), given.results)


if __name__ == "__main__":
    main()
