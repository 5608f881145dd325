"""The phases of transfer learning, each on features of its frozen layers where that is exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import tf_keras

from toolchain.recipe import Recipe
from toolchain.terminal import say
from toolchain.training.batches import Examples
from toolchain.training.compression import Ties, cluster, described, kernels_of
from toolchain.training.features import Features, Source, as_is, source_of
from toolchain.training.fit import Fitted, finished, fit
from toolchain.training.network import backbone_layers
from toolchain.training.plan import Plan
from toolchain.unfinished import Unfinished
from toolchain.values import Split


@dataclass(frozen=True, slots=True)
class Phase:
    """What is trained, and how.

    Attributes:
      plan: how; its phase is a section of the recipe.
      start: position of the first trained layer in the network; None: the head alone.
    """

    plan: Plan
    start: int | None = None


@dataclass(frozen=True, slots=True)
class Transfer:
    """A network on its way through the phases.

    Attributes:
      network: with the weights that it starts from; it is trained in place.
      recipe: how.
      photos: the pixels of "train" and "validation".
      kept: what an earlier try left of the phases.
      features: what computes features, and where they lie.
    """

    network: tf_keras.Model
    recipe: Recipe
    photos: Mapping[Split, Examples]
    kept: Unfinished | None
    features: Features

    def run(self, phases: Sequence[Phase]) -> tuple[list[Fitted], list[str]]:
        """Train phase by phase; returns what they left and, in words, what they trained on.

        Raises:
          RecipeError: views are asked for that have no features.
          MachineError: the disk has no room for features.
        """
        sources = [self._source(phase) for phase in phases]
        fitted, notes = [], []
        for phase, source in zip(phases, sources, strict=True):
            notes.append(self._told(phase, source))
            say(notes[-1])
            freeze(self.network, phase.start)
            if isinstance(source, Source):
                others = [one for one in sources if isinstance(one, Source) and one is not source]
                fitted.append(self._on_features(phase.plan, source, others))
            else:
                fitted.append(on_photos(self.network, self.photos, phase.plan, self.kept))
        return fitted, notes

    def _source(self, phase: Phase) -> Source | str:
        freeze(self.network, phase.start)
        return source_of(self.network, self.recipe, phase.plan.phase, self.photos)

    def _told(self, phase: Phase, source: Source | str) -> str:
        if isinstance(source, str):
            way = f"through the frozen layers, {source}"
        else:
            views = f" in {source.views} augmented views of each photo" if source.views else ""
            way = f"on features up to {source.cut.layer}, computed once{views}"
        if phase.start is None:
            return f"head trained {way}"
        return f"fine-tuned from layer {self.network.layers[phase.start].name} {way}"

    def _on_features(self, plan: Plan, source: Source, others: Sequence[Source]) -> Fitted:
        """The same numbers as through the frozen layers. Nothing is computed for a phase that an
        earlier try has finished; with views an epoch is one pass over all of them.
        """
        plan = replace(plan, prepare=as_is)
        done = finished(source.cut.above, plan, self.photos["validation"], self.kept)
        if done is not None:
            return done
        train, validation = (
            self.features.of(self.photos[split], split, source, others)
            for split in ("train", "validation")
        )
        return fit(source.cut.above, train, validation, plan, self.kept)


def freeze(network: tf_keras.Model, start: int | None) -> None:
    """Leave the layers from `start` on to be trained; None: the head alone.

    The backbone's BatchNormalization, and in fine-tuning the head's, stays in inference mode.
    """
    first = len(backbone_layers(network)) + 1 if start is None else start
    for index, layer in enumerate(network.layers):
        is_norm = isinstance(layer, tf_keras.layers.BatchNormalization)
        layer.trainable = index >= first and (start is None or not is_norm)


def on_photos(
    network: tf_keras.Model, photos: Mapping[Split, Examples], plan: Plan, kept: Unfinished | None
) -> Fitted:
    """Train what is not frozen, every layer computed in every epoch."""
    say(
        f"{plan.phase}: {sum(v.shape.num_elements() for v in network.trainable_variables):,} "
        f"trained weights of {network.count_params():,}"
    )
    return fit(network, photos["train"], photos["validation"], plan, kept)


def compress(
    network: tf_keras.Model,
    photos: Mapping[Split, Examples],
    plan: Plan,
    recipe: Recipe,
    kept: Unfinished | None,
) -> tuple[list[Fitted], list[str]]:
    """Prune and cluster the trained network, as far as the recipe asks; all of it is trained.

    Returns:
      What the phases left and, in words, what they came to.
    """
    asked, fitted = recipe.compress, []
    freeze(network, 0)
    kernels, half = kernels_of(network), asked.epochs // 2
    plan = replace(
        plan,
        epochs=asked.epochs,
        learning_rate=asked.learning_rate,
        warmup_epochs=0.0,
        patience=asked.epochs + 1,
    )
    if asked.sparsity:
        ties = Ties(kernels, sparsity=asked.sparsity, ramp=half)
        pruning = replace(plan, phase="prune", ties=ties, best_from=half + 1)
        fitted.append(on_photos(network, photos, pruning, kept))
    if asked.clusters:
        cluster(kernels, asked.clusters)
        ties = Ties(kernels, clustered=True)
        # XLA has no groups whose number follows from the values.
        clustering = replace(plan, phase="cluster", ties=ties, baseline=True, xla=False)
        fitted.append(on_photos(network, photos, clustering, kept))
    notes = [f"compressed: {described([kernel.numpy() for kernel in kernels])}"] if fitted else []
    return fitted, notes
