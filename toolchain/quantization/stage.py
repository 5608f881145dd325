"""The quantization stage: fold, calibrate, train with rounding; never worse than its start.

One calibration and one training serve the int8 files of both precisions and both formats.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import tf_keras

from toolchain.errors import RecipeError
from toolchain.evidence import LayerError
from toolchain.images.preprocess import Preprocessing
from toolchain.quantization.bias_correction import correct_biases, correction_images
from toolchain.quantization.calibrate import calibrate
from toolchain.quantization.float_layers import Fallback, Gate, cost, fall_back
from toolchain.quantization.fold import fold, to_keras
from toolchain.quantization.graph import Affine, Graph, ranges_of
from toolchain.quantization.integers import IntegerNetwork
from toolchain.quantization.preserved import compressed, ties_of
from toolchain.quantization.qat import get_arrays, qat_model
from toolchain.quantization.sample import calibration_rows
from toolchain.quantization.sensitivity import sensitivity
from toolchain.quantization.snap import snap
from toolchain.recipe import Recipe
from toolchain.recipe.defaults import NO_INTEGER_SIGMOID
from toolchain.recipe.layers import LAST_LAYER
from toolchain.training.batches import Examples
from toolchain.training.class_weights import class_weights
from toolchain.training.device import configure
from toolchain.training.fit import fit
from toolchain.training.inference import Inference, Prepare
from toolchain.training.network import build_network
from toolchain.training.plan import Plan
from toolchain.training.stage import WEIGHTS_FILE, pixel_examples, preparation
from toolchain.training.weights import assign, read_safetensors, save_weights, variables
from toolchain.unfinished import Unfinished
from toolchain.values import Dataset, Integers, QuantizedModel, TrainedModel

# Precision -> folded weights on the integer grid: the calibrated start, and after training.
WEIGHTS_OF: Final = {"int8-ptq": "calibrated.safetensors", "int8-qat": WEIGHTS_FILE}
# Calibration images on which the errors of layers are measured.
_SENSITIVITY_IMAGES: Final = 64
_UNTRAINED: Final = (
    "int8-qat has the weights of int8-ptq: none of {} epochs was better than the calibrated start"
)


def quantize_model(
    trained: TrainedModel,
    dataset: Dataset,
    recipe: Recipe,
    out: Path,
    kept: Unfinished | None = None,
) -> QuantizedModel:
    """Calibrate a trained model and, where the recipe asks for int8-qat, train it with rounding.

    Calibration images come from the train split only. The calibrated start is measured first and
    counts as an epoch, which is kept unless training does better.

    Args:
      trained: the float model.
      dataset: the photos.
      recipe: how.
      out: the folder to fill.
      kept: what an earlier try left, to go on from, and where this one leaves its own.

    Returns:
      The saved QuantizedModel; its folded weights are in the files of `WEIGHTS_OF` in `out`, what
      rounding does to each of its layers in sensitivity.json.

    Raises:
      RecipeError: the head has no int8 form.
    """
    configure(recipe)
    tf_keras.mixed_precision.set_global_policy("float32")
    settings = recipe.quantize
    if recipe.model.head.output == "sigmoid":
        raise RecipeError([f"model.head.output: {NO_INTEGER_SIGMOID}"], recipe.name)
    graph = folded(trained, recipe).keep_float(settings.skip_layers)
    preprocessing = Preprocessing.of(recipe.input.pixels, graph.size, recipe.input.crop)
    prepare = preparation(recipe)
    train = pixel_examples(dataset, "train")
    sample = drawn(train, recipe, settings.calibration_images)
    ranges = calibrate(graph, sample, prepare, preprocessing, settings.ranges)
    fitting = drawn(train, recipe, correction_images(graph))
    start = correct_biases(graph, ranges, fitting, prepare)
    model = qat_model(start, ranges)
    trains = "int8-qat" in recipe.int8_precisions()
    plan = Plan(
        phase="quantize",
        epochs=settings.epochs if trains else 0,
        batch_size=recipe.train.batch_size,
        learning_rate=settings.learning_rate,
        seed=recipe.train.seed,
        prepare=prepare,
        label_smoothing=recipe.train.label_smoothing,
        class_weights=class_weights(recipe, dataset),
        mixup=recipe.augment.mixup,
        patience=recipe.train.patience,
        ema=recipe.train.ema,
        # What copies the float model is measured by how well it does: a few hundred labels cannot
        # tell a copy from a worse one that chance likes better.
        best_by="loss" if settings.distillation else "accuracy",
        baseline=True,
        # A start that is luckier than the float model is no bar for a copy of that.
        never_below=trained.history[trained.best].validation_accuracy,
        ties=ties_of(model, graph, recipe.compress),
        distillation=settings.distillation,
        teacher=to_keras(graph) if settings.distillation else None,
    )
    validation = pixel_examples(dataset, "validation")
    fitted = fit(model, train, validation, plan, kept)
    best = graph.with_arrays(get_arrays(model))
    few = drawn(train, recipe, _SENSITIVITY_IMAGES)
    errors = sensitivity(best, ranges, few, prepare)
    errors.save(out)
    made = {"int8-ptq": (start, fitted.history[0])}
    if trains:
        made["int8-qat"] = (best, fitted.history[fitted.best])
    judge = _Judge(graph, ranges, validation, prepare, errors.worst())
    integers, notes = {}, []
    for precision, (source, record) in made.items():
        found = judge.fallback(source, precision, recipe)
        rounded = source if found is None else found.graph
        accuracy = found.right / len(validation) if found else record.validation_accuracy
        snapped = snap(rounded, ranges_of(rounded, ranges))
        save_weights(snapped.arrays, out / WEIGHTS_OF[precision])
        integers[precision] = Integers(rounded.float_layers(), accuracy)
        if precision in recipe.int8_precisions():
            left = compressed(rounded, ranges, recipe.compress)
            told = (found.story if found else "", cost(rounded), left)
            notes += [f"{precision}: {text}" for text in told if text]
    quantized = QuantizedModel(
        folder=out,
        classes=trained.classes,
        ranges={name: (point.scale, point.zero_point) for name, point in ranges.items()},
        history=fitted.history,
        best=fitted.best,
        integers=integers,
        notes=(
            f"{len(ranges)} activation ranges from {len(sample)} training images "
            f"({settings.ranges})",
            *([fitted.warning] if fitted.warning else []),
            *([_UNTRAINED.format(len(fitted.history) - 1)] if trains and not fitted.best else []),
            *notes,
        ),
    )
    quantized.save()
    return quantized


def drawn(train: Examples, recipe: Recipe, most: int) -> Examples:
    """Calibration images, all or some of them.

    Some are drawn again: the first rows of a dataset are often all of one class.
    """
    count = min(most, recipe.quantize.calibration_images)
    return replace(train, rows=calibration_rows(train.rows, count, recipe.train.seed))


@dataclass(frozen=True, eq=False)
class _Judge:
    """Finds what has to be float for the accuracy gate to hold on the validation split.

    Attributes:
      graph: the calibrated start.
      ranges: of its activations.
      validation, prepare: the photos, and what makes them the network's input.
      errors: of the layers, the worst first.
    """

    graph: Graph
    ranges: dict[str, Affine]
    validation: Examples
    prepare: Prepare
    errors: tuple[LayerError, ...]

    def fallback(self, source: Graph, precision: str, recipe: Recipe) -> Fallback | None:
        """For the files of one precision; None where the recipe wants no such thing."""
        most = recipe.quantize.fallback
        if not most or precision not in recipe.int8_precisions():
            return None
        points = recipe.verify.points_lost(precision)
        gate = Gate(len(self.validation), self._float_right, points)
        bytes_out = recipe.export.int8_io == "uint8" and "tflite" in recipe.export.formats
        fixed = (LAST_LAYER,) if bytes_out else ()
        return fall_back(source, self.errors, most, self._rounded_right, gate, fixed)

    @functools.cached_property
    def _float_right(self) -> int:
        return self._right(to_keras(self.graph))

    def _rounded_right(self, graph: Graph) -> int:
        """As its files will compute, with the ranges that are left."""
        ranges = ranges_of(graph, self.ranges)
        return self._right(IntegerNetwork(snap(graph, ranges), ranges))

    def _right(self, model: tf_keras.Model | IntegerNetwork) -> int:
        logits = Inference(model, self.prepare).logits(self.validation)
        labels = self.validation.labels[self.validation.rows]
        return int(np.sum(logits.argmax(axis=1) == labels))


def restore(trained: TrainedModel, recipe: Recipe) -> tf_keras.Model:
    """The float network with its trained weights."""
    network = build_network(recipe, len(trained.classes))
    path = trained.folder / WEIGHTS_FILE
    assign(variables(network.layers), read_safetensors(path), path)
    return network


def folded(trained: TrainedModel, recipe: Recipe) -> Graph:
    """The trained network as a graph with BatchNormalization folded."""
    return fold(restore(trained, recipe))


def quantized_graph(
    graph: Graph, quantized: QuantizedModel, precision: str
) -> tuple[Graph, dict[str, Affine]]:
    """The `folded` graph as "int8-ptq" or "int8-qat": weights, float layers, and the ranges."""
    arrays = read_safetensors(quantized.folder / WEIGHTS_OF[precision])
    ranges = {name: Affine(*stored) for name, stored in quantized.ranges.items()}
    graph = graph.with_arrays(arrays).keep_float(quantized.integers[precision].float_layers)
    return graph, ranges_of(graph, ranges)
