"""Trains small networks on so many logical devices, in a process of its own.

    python distributed_training.py OUT DEVICES NETWORK...

Workers of TF_CONFIG work together. OUT gets a folder for each network: `train` has its weights,
and of workers `again` those after training was called once more, where the second worker has lost
what it kept.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import tensorflow as tf
from networks import recipe_of

from toolchain.data.stage import build_dataset
from toolchain.recipe import Recipe
from toolchain.training.stage import train_model
from toolchain.unfinished import Unfinished

# 50 photos in steps of 16 on two devices, so that the last two of an epoch are one for each.
LIMIT = {"train": 50, "validation": 21, "test": 10}
HEAD = {"dense": [12], "batch_norm": "before", "dropout": 0.0}


def recipes() -> dict[str, Recipe]:
    """From random weights on photos; and a head on features, then the backbone's last block."""
    # Plain gradients: Adam divides by their size, and makes noise of a bias without effect a step.
    train = {"epochs": 2, "batch_size": 16, "optimizer": "sgd", "learning_rate": 0.01}
    train |= {"ema": 0.9, "weight_decay": 1e-3}
    return {
        "scratch": recipe_of(
            32,
            "cnn",
            data={"source": "digits", "limit": LIMIT},
            model={"blocks": [8, 12], "head": HEAD},
            augment={"mixup": 0.3, "shift": 0.1},
            train=train,
        ),
        # Without normalisation every bias has an effect.
        "adam": recipe_of(
            32,
            "cnn",
            data={"source": "digits", "limit": LIMIT},
            model={"blocks": [8, 12], "head": HEAD | {"batch_norm": "none"}},
            train={"epochs": 2, "batch_size": 16, "learning_rate": 1e-3},
        ),
        "transfer": recipe_of(
            48,
            data={"source": "digits", "limit": LIMIT},
            model={"weights": "embedded", "head": HEAD},
            train=train | {"class_weights": "balanced"},
            fine_tune={
                "start": "block_16_expand",
                "epochs": 1,
                "learning_rate": 1e-3,
                "depth_factor": 0.5,
            },
        ),
    }


def main() -> None:
    out, devices, names = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    worker = os.environ.get("TF_CONFIG", "")
    (processor,) = tf.config.list_physical_devices("CPU")
    parts = [tf.config.LogicalDeviceConfiguration()] * devices
    tf.config.set_logical_device_configuration(processor, parts)
    for name, recipe in recipes().items():
        if name not in names:
            continue
        folder = out / name
        for part in ("data", "train", "again"):
            (folder / part).mkdir(parents=True)
        dataset = build_dataset(recipe, folder / "data")
        kept = Unfinished(folder, "train", {"recipe": name})
        train_model(dataset, recipe, folder / "train", kept)
        if '"index": 1' in worker:
            shutil.rmtree(kept.folder)
        if worker:
            train_model(dataset, recipe, folder / "again", kept)


if __name__ == "__main__":
    main()
