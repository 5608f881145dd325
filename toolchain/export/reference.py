"""The networks that the exported files came from, asked on the same photos."""

from __future__ import annotations

from typing import Any

import numpy as np
import tf_keras
from numpy.typing import NDArray

from toolchain.evidence import Heatmaps
from toolchain.quantization.fold import fold
from toolchain.quantization.integers import IntegerNetwork
from toolchain.quantization.stage import quantized_graph, restore
from toolchain.recipe import Recipe
from toolchain.runtimes.base import softmax
from toolchain.training.batches import Examples
from toolchain.training.device import configure
from toolchain.training.gradcam import class_activation_maps
from toolchain.training.inference import Inference
from toolchain.training.stage import preparation
from toolchain.values import Dataset, QuantizedModel, TrainedModel


def reference_probabilities(
    trained: TrainedModel,
    quantized: QuantizedModel | None,
    dataset: Dataset,
    rows: NDArray[np.int64],
    recipe: Recipe,
) -> dict[str, NDArray[np.float32]]:
    """Probabilities by precision: "fp32" of the float network, int8 ones of theirs in integers.

    Files in fp16 and w8 come from the float network; an int8 file comes from the graph that has
    its weights and ranges, computed in whole numbers.

    Each is float32 [len(rows), classes]; `rows` are positions in the dataset.
    """
    configure(recipe)
    tf_keras.mixed_precision.set_global_policy("float32")
    examples = Examples(dataset.pixels(), dataset.label_array(), rows)
    prepare = preparation(recipe)
    network = restore(trained, recipe)
    models: dict[str, Any] = {"fp32": network}
    if quantized is not None:
        graph = fold(network)
        for precision in recipe.int8_precisions():
            models[precision] = IntegerNetwork(*quantized_graph(graph, quantized, precision))
    answers = {}
    for name, model in models.items():
        label = f"network of {name} on the test split"
        answers[name] = softmax(Inference(model, prepare).logits(examples, label))
    return answers


def explain(
    trained: TrainedModel,
    dataset: Dataset,
    rows: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    recipe: Recipe,
) -> Heatmaps:
    """Where the float network looked when it called a few photos.

    Args:
      rows: int64 [k], positions in the dataset.
      probabilities: float32 [k, classes], what the network answered.
    """
    called = probabilities.argmax(axis=1).astype(np.int64)
    maps, layer = class_activation_maps(
        restore(trained, recipe), preparation(recipe), dataset.pixels()[rows], called
    )
    confidence = probabilities[np.arange(len(rows)), called]
    return Heatmaps(layer, rows, dataset.label_array()[rows], called, confidence, maps)
