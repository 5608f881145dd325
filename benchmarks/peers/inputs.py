"""What every peer starts from: one run's float model, and the same train photos for all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.cli import published
from toolchain.contract import Contract
from toolchain.images.preprocess import normalise
from toolchain.recipe import Recipe, load_recipe
from toolchain.run import Run
from toolchain.values import Dataset


@dataclass(frozen=True)
class Inputs:
    """A finished run as the peers see it.

    Attributes:
      float_onnx: our fp32 .onnx, what onnxruntime's and OpenVINO's tools start from.
      calibration: float32 [n, size, size, 3], normalised, of the train split.
    """

    run: Run
    recipe: Recipe
    dataset: Dataset
    float_onnx: Path
    contract: Contract
    calibration: NDArray[np.float32]

    @staticmethod
    def of(folder: Path, recipe: Path, calibrated_on: int) -> Inputs:
        run, chosen = Run.at(folder), load_recipe(recipe)
        dataset = published.dataset(chosen, run)
        files = {one.path.name: one for one in published.exported(run)}
        onnx = files[f"{run.name}.fp32.onnx"]
        rows = dataset.indices("train")
        # Evenly over the split, so that every class is among them.
        rows = rows[np.linspace(0, len(rows) - 1, min(calibrated_on, len(rows))).astype(int)]
        return Inputs(
            run=run,
            recipe=chosen,
            dataset=dataset,
            float_onnx=onnx.path,
            contract=onnx.contract,
            calibration=normalise(
                np.stack([dataset.pixels()[row] for row in rows]), onnx.contract.preprocessing
            ),
        )

    def keras_model(self) -> Any:
        """The float network, ending in logits."""
        from toolchain.quantization.stage import restore

        return restore(published.trained(self.run), self.recipe)

    def classifier(self, model: Any) -> Any:
        """A traced function of one photo -> probabilities, as our files have it."""
        import tensorflow as tf

        size = self.contract.preprocessing.size

        @tf.function(input_signature=[tf.TensorSpec([1, size, size, 3], tf.float32, "image")])
        def classify(image):
            return tf.nn.softmax(model(image, training=False))

        return classify
