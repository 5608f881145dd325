"""TensorFlow as a recipe wants it: seeds, arithmetic and GPU memory, before a graph is built."""

from __future__ import annotations

import tensorflow as tf
import tf_keras

from toolchain.errors import RecipeError
from toolchain.recipe import Recipe
from toolchain.training.distribution import described


def configure(recipe: Recipe, *, distributed: bool = False) -> str:
    """Set seeds, precision policy and GPU memory growth; returns what will compute, in words.

    Args:
      recipe: says the seed and the precision.
      distributed: whether to meet the other devices and machines; else one device computes.

    Raises:
      RecipeError: train.xla on several devices, whose gradients XLA cannot add up.
      MachineError: TF_CONFIG cannot be used, or a worker that it names does not answer.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            # Growth is fixed once the GPU has been used in this process; the first stage set it.
            break
    copies = described() if distributed else ""
    if copies and recipe.train.xla:
        raise RecipeError([f"train.xla: expected false on {copies}; received true"], recipe.name)
    tf_keras.utils.set_random_seed(recipe.train.seed)
    tf_keras.mixed_precision.set_global_policy(recipe.train.precision)
    if not gpus:
        found = "CPU (no GPU that TensorFlow can use; see: toolchain doctor)"
    else:
        found = f"{len(gpus)} GPU, {recipe.train.precision}"
    return f"{found}, {copies}" if copies else found
