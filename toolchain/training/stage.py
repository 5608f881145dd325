"""The training stage: the head on the frozen backbone, then the last part of the backbone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras

from toolchain.errors import RecipeError
from toolchain.files import sha256_file
from toolchain.images.preprocess import Preprocessing
from toolchain.recipe import Recipe
from toolchain.training.augment import augment, is_active
from toolchain.training.batches import Examples
from toolchain.training.class_weights import class_weights
from toolchain.training.device import configure
from toolchain.training.distribution import strategy
from toolchain.training.features import Features, place_for
from toolchain.training.fit import Fitted
from toolchain.training.network import build_network, start_index
from toolchain.training.phases import Phase, Transfer, compress, on_photos
from toolchain.training.plan import Plan
from toolchain.training.pretrained import weights_path
from toolchain.training.weights import arrays_of, is_h5, load_backbone, save_weights
from toolchain.unfinished import Unfinished
from toolchain.values import Dataset, Split, TrainedModel

WEIGHTS_FILE = "weights.safetensors"


def train_model(
    dataset: Dataset, recipe: Recipe, out: Path, kept: Unfinished | None = None
) -> TrainedModel:
    """Train the recipe's network on the train split; validation stops it; test is not opened.

    Args:
      dataset: the photos.
      recipe: how.
      out: the folder to fill.
      kept: what an earlier try left, to go on from, and where this one leaves its own.

    Returns:
      The saved TrainedModel; its weights are in `out`/weights.safetensors.

    Raises:
      RecipeError: fine_tune.start names no layer, train.class_weights a class that there is not,
        or the head has one logit for other than two classes.
      ModelError, MachineError: the backbone's weights, see `pretrained.weights_path`.
    """
    notes = [f"computed on {configure(recipe, distributed=True)}"]
    with strategy().scope():
        return _train(dataset, recipe, out, kept, notes)


def _train(
    dataset: Dataset, recipe: Recipe, out: Path, kept: Unfinished | None, notes: list[str]
) -> TrainedModel:
    weights = weights_path(recipe)
    network = build_network(recipe, len(dataset.classes))
    start = _fine_tune_start(network, recipe)
    if weighed := class_weights(recipe, dataset):
        pairs = zip(dataset.classes, weighed, strict=True)
        notes.append("weights in the loss: " + ", ".join(f"{n} {w:.3g}" for n, w in pairs))
    notes += _load_weights(network, recipe, weights)
    plan, photos, feature_seconds = _plan(recipe, dataset), _photos(dataset), 0.0
    if recipe.model.weights == "none":
        phases = [on_photos(network, photos, plan, kept)]
        notes.append("trained as a whole from the first step on: [fine_tune] was not needed")
    else:
        planned = [Phase(plan)]
        if recipe.fine_tune.epochs:
            planned.append(Phase(_tuning(plan, recipe), start))
        with place_for(kept, out) as place:
            features = Features(place, plan.prepare, plan.seed)
            phases, told = Transfer(network, recipe, photos, kept, features).run(planned)
            feature_seconds = features.seconds()
        notes += told
    compressed, told = compress(network, photos, plan, recipe, kept)
    phases, notes = phases + compressed, notes + told
    notes += [phase.warning for phase in phases if phase.warning]
    history, best = join(phases)
    save_weights(arrays_of(network), out / WEIGHTS_FILE)
    trained = TrainedModel(
        folder=out,
        classes=dataset.classes,
        history=history,
        best=best,
        parameters=network.count_params(),
        notes=tuple(notes),
        feature_seconds=round(feature_seconds, 3),
    )
    trained.save()
    return trained


def join(phases: list[Fitted]) -> tuple[Any, int]:
    """The phases' histories as one, and the position of the last phase's best record in it."""
    history = tuple(record for phase in phases for record in phase.history)
    before = len(history) - len(phases[-1].history)
    return history, before + phases[-1].best


def pixel_examples(dataset: Dataset, split: Split) -> Examples:
    """The pixels of a split, read batch by batch."""
    return Examples(dataset.pixels(), dataset.label_array(), dataset.indices(split))


def preparation(recipe: Recipe) -> Callable[[Any, Any, bool], Any]:
    """Pixels in 0..255 -> the network's input: augmentation when training, then normalisation."""
    shown = recipe.input
    preprocessing = Preprocessing.of(shown.pixels, int(shown.size or 0), shown.crop)

    def prepare(pixels: Any, seed: Any, training: bool) -> Any:
        if training and is_active(recipe.augment):
            pixels = augment(pixels, recipe.augment, seed)
        return (pixels - np.float32(preprocessing.mean)) / np.float32(preprocessing.std)

    return prepare


def _fine_tune_start(network: tf_keras.Model, recipe: Recipe) -> int:
    start = recipe.fine_tune.start
    index = None if start is None else start_index(network, start)
    if index is None:
        last = network.layers[-1].name
        raise RecipeError(
            [f"fine_tune.start: expected a layer or block up to {last}, received {start!r}"],
            recipe.name,
        )
    if not any(layer.weights for layer in network.layers[index:]):
        raise RecipeError(
            [f"fine_tune.start: expected a layer with weights behind it, received {start!r}"],
            recipe.name,
        )
    return index


def _load_weights(network: tf_keras.Model, recipe: Recipe, path: Path | None) -> list[str]:
    if path is None:
        return ["backbone from random weights"]
    is_published = recipe.model.backbone == "vgg16" and is_h5(path)
    load_backbone(network, path, fold_caffe=is_published and recipe.input.pixels == "caffe")
    return [f"backbone from {path.name}, sha256 {sha256_file(path)}"]


def _plan(recipe: Recipe, dataset: Dataset) -> Plan:
    train = recipe.train
    return Plan(
        phase="train",
        epochs=train.epochs,
        batch_size=train.batch_size,
        learning_rate=train.learning_rate,
        seed=train.seed,
        prepare=preparation(recipe),
        optimizer=train.optimizer,
        schedule=train.schedule,
        warmup_epochs=train.warmup_epochs,
        plateau_factor=train.plateau_factor,
        plateau_epochs=train.plateau_epochs,
        weight_decay=train.weight_decay,
        label_smoothing=train.label_smoothing,
        class_weights=class_weights(recipe, dataset),
        mixup=recipe.augment.mixup,
        patience=train.patience,
        ema=train.ema,
        xla=train.xla,
    )


def _tuning(plan: Plan, recipe: Recipe) -> Plan:
    """The plan of fine-tuning, which follows the head's."""
    tune = recipe.fine_tune
    return replace(
        plan,
        phase="fine_tune",
        epochs=tune.epochs,
        learning_rate=tune.learning_rate,
        schedule=tune.schedule,
        warmup_epochs=tune.warmup_epochs,
        depth_factor=tune.depth_factor,
        baseline=True,
    )


def _photos(dataset: Dataset) -> dict[Split, Examples]:
    splits: tuple[Split, ...] = ("train", "validation")
    return {split: pixel_examples(dataset, split) for split in splits}
