"""Networks small enough for seconds, with weights random but alive, and numbers to feed them."""

from __future__ import annotations

from typing import Any

import numpy as np
import tf_keras
from numpy.typing import NDArray

from toolchain.recipe import Recipe, parse_recipe
from toolchain.training import vgg16
from toolchain.training.network import build_network
from toolchain.training.weights import variables

# VGG16's five blocks with few channels: the same layers, names and strides.
SMALL_BLOCKS = ((1, 8), (2, 12), (1, 16), (1, 16), (1, 24))


def recipe_of(size: int = 32, backbone: str = "mobilenet_v2", **sections: Any) -> Recipe:
    """A digits recipe with random weights; alpha 0.35 for MobileNetV2."""
    model = {"backbone": backbone, "weights": "none", **sections.pop("model", {})}
    if backbone == "mobilenet_v2":
        model.setdefault("alpha", 0.35)
    table = {"data": {"source": "digits"}, "input": {"size": size}, "model": model, **sections}
    return parse_recipe(table, name="tiny")


def small_vgg(monkeypatch: Any) -> None:
    """From here on a "vgg16" has the blocks above."""
    monkeypatch.setattr(vgg16, "_BLOCKS", SMALL_BLOCKS)


def random_network(recipe: Recipe, classes: int = 10, seed: int = 0) -> tf_keras.Model:
    """A network whose every weight is random, BatchNormalization's statistics too."""
    network = build_network(recipe, classes)
    named = variables(network.layers)
    values = randomise(named, seed)
    if recipe.input.pixels == "caffe":
        # Pixels reach 140 here: without this, probabilities are all 0 or 1 and hide differences.
        named["block1_conv1/kernel"].assign(values["block1_conv1/kernel"] / 70)
    return network


def randomise(named: dict[str, Any], seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Give variables random values that keep activations at their scale; returns the values."""
    random, values = np.random.default_rng(seed), {}
    for name, variable in sorted(named.items()):
        values[name] = _values(name, tuple(variable.shape), random)
        variable.assign(values[name])
    return values


def _values(name: str, shape: tuple[int, ...], random: Any) -> NDArray[np.float32]:
    noise = random.normal(size=shape)
    if "variance" in name:
        noise = 0.5 + np.abs(noise)
    elif "gamma" in name:
        noise = 1.0 + 0.1 * noise
    elif "kernel" in name:
        inputs = np.prod(shape[:2] if "depthwise" in name else shape[:-1])
        noise *= 1.4 / np.sqrt(inputs)
    else:
        noise *= 0.1
    return noise.astype(np.float32)


def photos(count: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    """Noise with soft shapes in it, uint8 [count, size, size, 3]."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, 4, 4, 3))
    repeat = -(-size // 4)
    soft = coarse.repeat(repeat, axis=1).repeat(repeat, axis=2)[:, :size, :size]
    return np.clip(soft + random.integers(-40, 40, soft.shape), 0, 255).astype(np.uint8)


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
