"""Places365 as published: its head, and a set of its layout that the head learns by heart at once.

The photos themselves are not to be had, so they are generated: nights with a few lights, which no
rule tells apart and a large head remembers.
"""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from toolchain.data.stage import build_dataset
from toolchain.models import shipped_recipes
from toolchain.recipe import Recipe, load_recipe
from toolchain.training.network import backbone_layers, build_network
from toolchain.training.stage import train_model

CLASSES = 365
EACH = 5
SIDE = 16


def recipe(**changes: str) -> Recipe:
    overrides = [f"{key.replace('__', '.')}={value}" for key, value in changes.items()]
    return load_recipe(shipped_recipes()["places365-vgg16"], overrides)


def test_the_network_has_the_published_number_of_weights() -> None:
    network = build_network(recipe(model__weights="none"), CLASSES)
    assert network.count_params() == 40_779_949
    frozen = sum(layer.count_params() for layer in backbone_layers(network))
    assert network.count_params() - frozen == 26_065_261


@pytest.fixture
def places(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    numbers = range(CLASSES * EACH)
    names = [f"Places365_val_{number + 1:08}.jpg" for number in numbers]
    lists = {
        "categories_places365.txt": [f"/c/class_{label:03} {label}" for label in range(CLASSES)],
        "places365_val.txt": [f"{name} {at % CLASSES}" for at, name in enumerate(names)],
    }
    for list_name, lines in lists.items():
        (tmp_path / list_name).write_text("".join(f"{line}\n" for line in lines))
    photos = tmp_path / "val_256"
    photos.mkdir()
    for name in names:
        (photos / name).write_bytes(_night(random))
    return tmp_path


def _night(random: np.random.Generator) -> bytes:
    lit = random.random((SIDE, SIDE, 1)) < 0.06
    pixels = (random.integers(0, 256, (SIDE, SIDE, 3)) * lit).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels.repeat(2, axis=0).repeat(2, axis=1)).save(buffer, "BMP")
    return buffer.getvalue()


def test_learning_by_heart_is_noticed_within_two_epochs(
    places: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """All as in the recipe, but for a backbone and photos that take seconds."""
    small = recipe(
        data__path=str(places),
        data__validation="0.2",
        model__backbone="cnn",
        model__blocks="[4, 4]",
        model__weights="none",
        input__size="32",
        train__epochs="2",
    )
    dataset = build_dataset(small, tmp_path_factory.mktemp("data"))
    assert Counter(dataset.splits) == {"train": 3 * CLASSES, "validation": 365, "test": 365}
    trained = train_model(dataset, small, tmp_path_factory.mktemp("train"))
    (warning,) = [note for note in trained.notes if "by heart" in note]
    assert "from epoch 2 on" in warning
    assert "weight_decay" in warning
