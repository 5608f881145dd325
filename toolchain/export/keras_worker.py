"""The float Keras model in a child of its own: `python -m toolchain.export.keras_worker`.

It answers what `runtimes.worker` answers, and opens a `Reference` saved as JSON instead of a model
file, so that TensorFlow runs beside the exported files and the harness imports none of it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.contract import Contract, parse_contract
from toolchain.errors import MachineError
from toolchain.recipe import Recipe, parse_recipe
from toolchain.recipe.write import given
from toolchain.runtimes.base import to_input, to_probabilities
from toolchain.runtimes.worker import serve_runner
from toolchain.saved import load_as
from toolchain.values import TrainedModel


@dataclass(frozen=True, slots=True)
class Reference:
    """What the child opens.

    Attributes:
      name, recipe: the recipe's, its sections as plain data.
      trained: folder of the train stage.
      contract: of the exported fp32 file, whose labels and preprocessing are the model's.
    """

    name: str
    recipe: dict[str, Any]
    trained: str
    contract: str

    @staticmethod
    def of(recipe: Recipe, trained: Path, contract: Contract) -> Reference:
        """What opens the model that `contract` was exported from."""
        sections = given(recipe.to_json())
        name = sections.pop("name")
        return Reference(name, sections, str(trained.absolute()), contract.dumps())


class KerasRunner:
    """The float model, compiled with tf.function; see `runtimes.base.Runner`."""

    runtime = "keras"
    provider = "cpu"

    def __init__(self, path: Path, *, threads: int = 1, provider: str = "cpu") -> None:
        if provider != "cpu":
            raise MachineError(f"the Keras model is timed on the cpu, received {provider!r:.40}")
        import tensorflow as tf

        from toolchain.quantization.stage import restore

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.set_visible_devices([], "GPU")
        reference = load_as(Reference, path)
        self._path, self.contract = path, parse_contract(reference.contract, str(path))
        recipe = parse_recipe(reference.recipe, name=reference.name)
        started = time.perf_counter_ns()
        model = restore(TrainedModel.load(Path(reference.trained)), recipe)
        self.load_ms = (time.perf_counter_ns() - started) / 1e6
        self.nodes: dict[str, int] = {}
        self._forward = tf.function(
            lambda images: tf.nn.softmax(model(images, training=False)), reduce_retracing=True
        )

    def takes(self, batch: int) -> bool:
        """Keras takes every batch."""
        return batch > 0

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Classify; see `runtimes.base.Runner.run`."""
        raw = self.run_tensor(to_input(pixels, self.contract))
        return to_probabilities(raw, self.contract, str(self._path))

    def run_tensor(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """One inference."""
        output: NDArray[Any] = self._forward(tensor).numpy()
        return output

    def close(self) -> None:
        """Give the memory back."""
        del self._forward


if __name__ == "__main__":
    serve_runner(KerasRunner)
