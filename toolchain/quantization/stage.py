"""The quantization stage: fold, calibrate, train with rounding; never worse than its start.

One calibration and one training serve the int8 files of both precisions and both formats.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import tf_keras

from toolchain.errors import RecipeError
from toolchain.images.preprocess import Preprocessing
from toolchain.quantization.calibrate import calibrate, calibration_examples
from toolchain.quantization.fold import fold, to_keras
from toolchain.quantization.graph import WITH_WEIGHTS, Affine, Graph, ranges_of, snap_biases
from toolchain.quantization.qat import get_arrays, qat_model
from toolchain.quantization.sensitivity import sensitivity
from toolchain.recipe import Recipe
from toolchain.training.device import configure
from toolchain.training.fit import Plan, fit
from toolchain.training.network import build_network
from toolchain.training.stage import WEIGHTS_FILE, pixel_examples, preparation
from toolchain.training.weights import assign, read_safetensors, save_weights, variables
from toolchain.unfinished import Unfinished
from toolchain.values import Dataset, Integers, QuantizedModel, TrainedModel

# Precision -> folded weights on the integer grid: the calibrated start, and after training.
WEIGHTS_OF: Final = {"int8-ptq": "calibrated.safetensors", "int8-qat": WEIGHTS_FILE}
# Calibration images on which the errors of layers are measured.
_SENSITIVITY_IMAGES: Final = 64


def quantize_model(
    trained: TrainedModel,
    dataset: Dataset,
    recipe: Recipe,
    out: Path,
    kept: Unfinished | None = None,
) -> QuantizedModel:
    """Calibrate a trained model and, where the recipe asks for int8-qat, train it with rounding.

    Calibration images come from the train split only. The calibrated start is measured first and
    counts as an epoch, so training can only improve on it.

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
      RecipeError: quantize.skip_layers names no layer.
    """
    configure(recipe)
    tf_keras.mixed_precision.set_global_policy("float32")
    settings = recipe.quantize
    graph = folded(trained, recipe)
    check_layers(graph, settings.skip_layers, recipe.name)
    graph = graph.keep_float(settings.skip_layers)
    preprocessing = Preprocessing.of(recipe.input.pixels, graph.size)
    prepare = preparation(recipe)
    train = pixel_examples(dataset, "train")
    sample = calibration_examples(train, settings.calibration_images, recipe.train.seed)
    ranges = calibrate(graph, sample, prepare, preprocessing, settings.ranges)
    save_weights(snap_biases(graph, ranges), out / WEIGHTS_OF["int8-ptq"])
    model = qat_model(graph, ranges)
    trains = "int8-qat" in recipe.int8_precisions()
    plan = Plan(
        phase="quantize",
        epochs=settings.epochs if trains else 0,
        batch_size=recipe.train.batch_size,
        learning_rate=settings.learning_rate,
        seed=recipe.train.seed,
        prepare=prepare,
        label_smoothing=recipe.train.label_smoothing,
        mixup=recipe.augment.mixup,
        patience=recipe.train.patience,
        ema=recipe.train.ema,
        best_by="accuracy",
        baseline=True,
        distillation=settings.distillation,
        teacher=to_keras(graph) if settings.distillation else None,
    )
    fitted = fit(model, train, pixel_examples(dataset, "validation"), plan, kept)
    best = graph.with_arrays(get_arrays(model))
    if trains:
        save_weights(snap_biases(best, ranges), out / WEIGHTS_OF["int8-qat"])
    few = replace(sample, rows=sample.rows[:_SENSITIVITY_IMAGES])
    sensitivity(best, ranges, few, prepare).save(out)
    records = {"int8-ptq": fitted.history[0]}
    if trains:
        records["int8-qat"] = fitted.history[fitted.best]
    quantized = QuantizedModel(
        folder=out,
        classes=trained.classes,
        ranges={name: (point.scale, point.zero_point) for name, point in ranges.items()},
        history=fitted.history,
        best=fitted.best,
        integers={
            precision: Integers(graph.float_layers(), record.validation_accuracy)
            for precision, record in records.items()
        },
        notes=(
            f"{len(ranges)} activation ranges from {len(sample)} training images "
            f"({settings.ranges})",
            *([fitted.warning] if fitted.warning else []),
        ),
    )
    quantized.save()
    return quantized


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


def check_layers(graph: Graph, names: Sequence[str], where: str) -> None:
    """Whether there are such layers.

    Raises:
      RecipeError: with every name that is none of a layer with weights.
    """
    known = [node.name for node in graph.nodes if node.op in WITH_WEIGHTS]
    mistakes = []
    if set(names) >= set(known):
        mistakes.append("quantize.skip_layers: expected some of the layers, received all of them")
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the first is {known[0]}"
            mistakes.append(
                f"quantize.skip_layers: expected a layer with weights, received {name!r:.60} ("
                f"{hint})"
            )
    if mistakes:
        raise RecipeError(mistakes, where)
