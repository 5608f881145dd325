"""What every peer starts from: one run's float model, and the same train photos for all."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.cli import published
from toolchain.contract import Contract
from toolchain.images.preprocess import normalise
from toolchain.quantization.sample import calibration_rows
from toolchain.recipe import Recipe, load_recipe
from toolchain.run import Run
from toolchain.values import Dataset


@dataclass(frozen=True)
class Inputs:
    """A finished run as the peers see it.

    Attributes:
      float_onnx: our fp32 .onnx, what onnxruntime's and OpenVINO's tools start from.
      calibration_rows: int64 [n], rows of the data set, those of our own calibration.
    """

    run: Run
    recipe: Recipe
    dataset: Dataset
    float_onnx: Path
    contract: Contract
    calibration_rows: NDArray[np.int64]

    @staticmethod
    def of(folder: Path, recipe: Path) -> Inputs:
        run, chosen = Run.at(folder), load_recipe(recipe)
        dataset = published.dataset(chosen, run)
        files = {one.path.name: one for one in published.exported(run)}
        onnx = files[f"{run.name}.fp32.onnx"]
        rows = calibration_rows(
            dataset.indices("train"), chosen.quantize.calibration_images, chosen.train.seed
        )
        return Inputs(run, chosen, dataset, onnx.path, onnx.contract, rows)

    def pixels(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The photos at these positions, uint8 [n, size, size, 3]."""
        pixels = self.dataset.pixels()
        return np.stack([pixels[row] for row in rows])

    def normalised(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The same as the networks take them, float32."""
        return normalise(self.pixels(rows), self.contract.preprocessing)

    @functools.cached_property
    def calibration(self) -> NDArray[np.float32]:
        """The photos of `calibration_rows`, float32 [n, size, size, 3]."""
        return self.normalised(self.calibration_rows)

    def keras_model(self) -> Any:
        """The float network, ending in logits."""
        from toolchain.quantization.stage import restore

        return restore(published.trained(self.run), self.recipe)

    def converter(self, model: Any) -> Any:
        """TensorFlow's converter to .tflite, of `classifier`."""
        import tensorflow as tf

        classify = self.classifier(model).get_concrete_function()
        return tf.lite.TFLiteConverter.from_concrete_functions([classify], model)

    def classifier(self, model: Any) -> Any:
        """A traced function of one photo -> probabilities, as our files have it."""
        import tensorflow as tf

        size = self.contract.preprocessing.size

        @tf.function(input_signature=[tf.TensorSpec([1, size, size, 3], tf.float32, "image")])
        def classify(image):
            return tf.nn.softmax(model(image, training=False))

        return classify
