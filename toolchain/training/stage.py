"""The training stage: the head on the frozen backbone, then the last part of the backbone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras

from toolchain.errors import RecipeError
from toolchain.images.preprocess import Preprocessing
from toolchain.recipe import Recipe
from toolchain.run import sha256_file
from toolchain.terminal import say
from toolchain.training.augment import augment, is_active
from toolchain.training.batches import Examples
from toolchain.training.class_weights import class_weights
from toolchain.training.device import configure
from toolchain.training.fit import Fitted, finished, fit
from toolchain.training.inference import Inference
from toolchain.training.network import (
    build_head,
    build_network,
    feature_extractor,
    start_index,
)
from toolchain.training.plan import Plan
from toolchain.training.pretrained import weights_path
from toolchain.training.weights import arrays_of, load_backbone, save_weights
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
    notes = [f"computed on {configure(recipe)}"]
    weights = weights_path(recipe)
    network = build_network(recipe, len(dataset.classes))
    start = _fine_tune_start(network, recipe)
    if weighed := class_weights(recipe, dataset):
        pairs = zip(dataset.classes, weighed, strict=True)
        notes.append("weights in the loss: " + ", ".join(f"{n} {w:.3g}" for n, w in pairs))
    notes += _load_weights(network, recipe, weights)
    phases = [_first_phase(network, dataset, recipe, notes, kept)]
    if recipe.fine_tune.epochs and recipe.model.weights != "none":
        phases.append(_fine_tune(network, dataset, recipe, start, kept))
        notes.append(f"fine-tuned from layer {network.layers[start].name}")
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
    preprocessing = Preprocessing.of(recipe.input.pixels, int(recipe.input.size or 0))

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
    return index


def _load_weights(network: tf_keras.Model, recipe: Recipe, path: Path | None) -> list[str]:
    if path is None:
        return ["backbone from random weights"]
    is_published = recipe.model.backbone == "vgg16" and path.suffix == ".h5"
    load_backbone(network, path, fold_caffe=is_published and recipe.input.pixels == "caffe")
    return [f"backbone from {path.name}, sha256 {sha256_file(path)}"]


def _first_phase(
    network: tf_keras.Model,
    dataset: Dataset,
    recipe: Recipe,
    notes: list[str],
    kept: Unfinished | None,
) -> Fitted:
    if recipe.model.weights == "none":
        return _on_pixels(network, dataset, _plan(recipe, dataset, preparation(recipe)), kept)
    views = recipe.train.feature_views
    if is_active(recipe.augment) and not views:
        notes.append("head trained through the frozen backbone, photos changed every epoch")
        return _frozen(network, dataset, recipe, kept)
    told = f" in {views} augmented views of each photo" if is_active(recipe.augment) else ""
    notes.append(f"head trained on features of the frozen backbone, computed once{told}")
    return _on_features(network, dataset, recipe, kept)


def _plan(recipe: Recipe, dataset: Dataset, prepare: Callable[[Any, Any, bool], Any]) -> Plan:
    train = recipe.train
    return Plan(
        phase="train",
        epochs=train.epochs,
        batch_size=train.batch_size,
        learning_rate=train.learning_rate,
        seed=train.seed,
        prepare=prepare,
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


def _on_pixels(
    network: tf_keras.Model, dataset: Dataset, plan: Plan, kept: Unfinished | None
) -> Fitted:
    say(
        f"{plan.phase}: {sum(v.shape.num_elements() for v in network.trainable_variables):,} "
        f"trained weights of {network.count_params():,}"
    )
    train, validation = pixel_examples(dataset, "train"), pixel_examples(dataset, "validation")
    return fit(network, train, validation, plan, kept)


def _frozen(
    network: tf_keras.Model, dataset: Dataset, recipe: Recipe, kept: Unfinished | None
) -> Fitted:
    for layer in feature_extractor(network).layers:
        layer.trainable = False
    return _on_pixels(network, dataset, _plan(recipe, dataset, preparation(recipe)), kept)


def _on_features(
    network: tf_keras.Model, dataset: Dataset, recipe: Recipe, kept: Unfinished | None
) -> Fitted:
    """Train the head on cached vectors: the same numbers as through the frozen backbone.

    With augmentation an epoch is one pass over all views of the photos. Where an earlier try has
    finished the phase, nothing is computed.
    """
    backbone, plan = feature_extractor(network), _plan(recipe, dataset, _as_is)
    head = build_head(recipe, backbone.output_shape[-1], len(dataset.classes))
    fitted = finished(head, plan, dataset.indices("validation"), kept)
    if fitted is None:
        extractor = Inference(backbone, preparation(recipe))
        train, validation = (
            _features(extractor, dataset, split, recipe) for split in ("train", "validation")
        )
        fitted = fit(head, train, validation, plan, kept)
    for layer in head.layers[1:]:
        network.get_layer(layer.name).set_weights(layer.get_weights())
    return fitted


def _features(extractor: Inference, dataset: Dataset, split: Split, recipe: Recipe) -> Examples:
    """What the frozen backbone makes of a split's photos; of the train split's views, if asked."""
    photos, seed = pixel_examples(dataset, split), recipe.train.seed
    views: list[int | None] = [None]
    if split == "train" and is_active(recipe.augment):
        views = list(range(recipe.train.feature_views))
    found = []
    for view in views:
        label = f"features of {split}" + ("" if view is None else f", view {view + 1}")
        found.append(extractor.logits(photos, label, seed, view))
    labels = np.tile(photos.labels[photos.rows], len(views))
    return Examples(np.concatenate(found), labels, np.arange(len(labels)))


def _as_is(features: Any, seed: Any, training: bool) -> Any:
    return features


def _fine_tune(
    network: tf_keras.Model, dataset: Dataset, recipe: Recipe, start: int, kept: Unfinished | None
) -> Fitted:
    """Train from layer `start` on; BatchNormalization stays in inference mode."""
    for index, layer in enumerate(network.layers):
        is_norm = isinstance(layer, tf_keras.layers.BatchNormalization)
        layer.trainable = index >= start and not is_norm
    tune = recipe.fine_tune
    plan = replace(
        _plan(recipe, dataset, preparation(recipe)),
        phase="fine_tune",
        epochs=tune.epochs,
        learning_rate=tune.learning_rate,
        schedule=tune.schedule,
        warmup_epochs=tune.warmup_epochs,
        depth_factor=tune.depth_factor,
        baseline=True,
    )
    return _on_pixels(network, dataset, plan, kept)
