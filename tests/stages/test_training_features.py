"""Features of frozen layers: where a network is cut, what is kept, what is not computed again."""

from __future__ import annotations

import shutil
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
from networks import photos, random_network, recipe_of

from toolchain.errors import MachineError, RecipeError
from toolchain.training import features as module
from toolchain.training.batches import Examples
from toolchain.training.features import Features, Source, place_for, source_of
from toolchain.training.frozen import cut_of
from toolchain.training.inference import BATCH
from toolchain.training.network import start_index
from toolchain.training.phases import freeze
from toolchain.training.stage import preparation
from toolchain.unfinished import Unfinished

pytestmark = pytest.mark.usefixtures("small_vgg_network")

COUNT = 2 * BATCH + 9
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def mobilenet():
    return random_network(recipe_of(32))


@pytest.fixture
def vgg():
    """Fresh for each test: cuts add to a network's layers."""
    return random_network(recipe_of(32, "vgg16", model={"head": {"dense": [16], "dropout": 0.5}}))


@pytest.fixture(scope="module")
def pixels():
    return photos(COUNT, 32)


@pytest.fixture
def examples(pixels):
    return Examples(pixels, np.arange(COUNT) % 10, np.arange(COUNT))


def cut_at(network, start):
    freeze(network, None if start is None else start_index(network, start))
    return cut_of(network)


@pytest.mark.parametrize(
    ("start", "layer"),
    [
        (None, "head_pool"),
        ("Conv_1", "block_16_project_BN"),
        ("block_13", "block_12_add"),
        # The residual connection leads past the layer itself.
        ("block_14_depthwise", "block_13_project_BN"),
        ("block_15_expand", "block_14_add"),
        # It starts at layers without weights: the next that has some is what counts.
        ("Conv_1_bn", "head_pool"),
        (0.0, None),
        ("bn_Conv1", "Conv1_relu"),
    ],
)
def test_a_network_is_cut_where_one_tensor_leads_on(start, layer, mobilenet) -> None:
    cut = cut_at(mobilenet, start)
    assert (cut and cut.layer) == layer


@pytest.mark.parametrize(
    ("backbone", "start"),
    [("mobilenet", None), ("mobilenet", "block_14_depthwise"), ("vgg", None), ("vgg", "block5")],
)
def test_both_parts_are_the_network(backbone, start, pixels, request) -> None:
    network = request.getfixturevalue(backbone)
    cut = cut_at(network, start)
    x = pixels[:4].astype(np.float32) / 127.5 - 1
    between = cut.below(x, training=False)
    assert between.shape[1:] == cut.shape
    expected = network(x, training=False).numpy()
    assert np.abs(cut.above(between, training=False).numpy() - expected).max() < TOLERANCE
    # What is trained above is trained in the network.
    above = cut.above.trainable_variables
    assert [id(v) for v in above] == [id(v) for v in network.trainable_variables]


def test_multiply_adds_are_counted_by_hand(vgg) -> None:
    convolutions = (
        32 * 32 * 9 * 3 * 8 + 16 * 16 * 9 * (8 * 12 + 12 * 12) + 8 * 8 * 9 * 12 * 16 + 16 * 9 * 256
    )
    cut = cut_at(vgg, "block5_conv1")
    assert cut.multiply_adds == convolutions
    assert cut.photo_bytes == 2 * 2 * 16 * 4


def source(network, start, views=0, phase="fine_tune", **sections):
    recipe = recipe_of(32, "vgg16", **sections)
    recipe = replace(recipe, **{phase: replace(getattr(recipe, phase), feature_views=views)})
    freeze(network, start and start_index(network, start))
    few = Examples(np.zeros((COUNT, 1)), np.zeros(COUNT, np.int64), np.arange(COUNT))
    return source_of(network, recipe, phase, {"train": few, "validation": few})


def test_what_has_no_features_is_told_why(vgg) -> None:
    assert source(vgg, "block5").cut.layer == "block4_pool"
    assert "every epoch" in source(vgg, "block5", augment={"flip": True})
    assert "nothing is frozen" in source(vgg, "block1_conv1")
    assert "slower to read" in source(vgg, "block1_conv1_relu")
    exactly = 2 * COUNT * 2 * 2 * 16 * 4 / 2**30
    assert isinstance(source(vgg, "block5", train={"features_gib": exactly}), Source)
    limited = source(vgg, "block5", train={"features_gib": exactly * 0.99})
    assert "train.features_gib" in limited


@pytest.mark.parametrize(
    ("phase", "start", "gib"), [("fine_tune", "block1_conv1", 1.0), ("train", None, 0.0)]
)
def test_views_without_features_are_refused(phase, start, gib, vgg) -> None:
    with pytest.raises(RecipeError, match=rf"{phase}\.feature_views"):
        source(vgg, start, 2, phase, augment={"flip": True}, train={"features_gib": gib})


def features_in(place, recipe=None):
    return Features(place, preparation(recipe or recipe_of(32, "vgg16")), seed=3)


def test_features_of_a_higher_cut_are_made_from_those_of_a_lower_one(
    vgg, examples, tmp_path
) -> None:
    low, high = (Source(cut_at(vgg, start), 0) for start in ("block5", None))
    kept = Unfinished(tmp_path, "train", {})
    chained = features_in(kept).of(examples, "validation", high, [low])
    assert sorted(path.name for path in kept.folder.glob("*.npy")) == [
        "block4_pool-validation.npy",
        "head_pool-validation.npy",
    ]
    with place_for(None, tmp_path) as place:
        direct = features_in(place).of(examples, "validation", high)
        assert np.abs(chained.inputs[chained.rows] - direct.inputs[direct.rows]).max() < TOLERANCE
    assert not list(tmp_path.glob(".features-*"))


def test_each_view_changes_every_photo_and_is_the_same_when_asked_again(
    vgg, examples, tmp_path
) -> None:
    recipe, found = recipe_of(32, "vgg16", augment={"shift": 0.1}), []
    views = Source(cut_at(vgg, None), 2)
    for name in ("one", "two"):
        kept = Unfinished(tmp_path / name, "train", {})
        train = features_in(kept, recipe).of(examples, "train", views)
        found.append(train.inputs[train.rows])
    assert np.array_equal(*found)
    assert found[0].shape[0] == len(train) == 2 * COUNT
    assert np.array_equal(train.labels, np.tile(examples.labels, 2))
    assert np.mean(np.any(found[0][:COUNT] != found[0][COUNT:], axis=1)) > 0.9
    # Validation is seen as it is.
    assert len(features_in(kept, recipe).of(examples, "validation", views)) == COUNT


class _Stopping:
    """Photos that can be read so many times."""

    def __init__(self, pixels, batches):
        self.shape, self.dtype = pixels.shape, pixels.dtype
        self._pixels, self._left = pixels, batches

    def __getitem__(self, rows):
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        return self._pixels[rows]


@pytest.mark.parametrize("batches", [0, 2, 4, 6])
def test_stopped_while_they_are_computed_they_go_on_and_are_the_same(
    batches, vgg, examples, tmp_path, monkeypatch
) -> None:
    """Three batches a view, the last of them short."""
    monkeypatch.setattr(module, "_MARK_SECONDS", 0.0)
    recipe = recipe_of(32, "vgg16", augment={"shift": 0.1})
    views = Source(cut_at(vgg, None), 2)
    whole = features_in(Unfinished(tmp_path / "0", "train", {}), recipe)
    expected = whole.of(examples, "train", views)
    kept = Unfinished(tmp_path / "1", "train", {})
    if batches < 6:
        stopping = replace(examples, inputs=_Stopping(examples.inputs, batches))
        with pytest.raises(KeyboardInterrupt):
            features_in(kept, recipe).of(stopping, "train", views)
        done = (0, 0, 2 * BATCH, 0, COUNT + BATCH)[batches]
        assert kept.reached == f"features of train up to head_pool: {done} of {2 * COUNT}"
    rest = replace(examples, inputs=_Stopping(examples.inputs, 6 - batches % 6))
    spent = features_in(kept).seconds()
    found = features_in(kept, recipe).of(rest, "train", views)
    assert np.array_equal(found.inputs[found.rows], expected.inputs[expected.rows])
    assert features_in(kept).seconds() > spent >= 0


@pytest.mark.parametrize("damage", ["no mark", "mark", "short", "other shape"])
def test_what_is_damaged_is_computed_again(damage, vgg, examples, tmp_path) -> None:
    kept, pool = Unfinished(tmp_path, "train", {}), Source(cut_at(vgg, None), 0)
    expected = features_in(kept).of(examples, "train", pool)
    expected = expected.inputs[expected.rows]
    array, mark = kept.path("head_pool-train.npy"), kept.path("head_pool-train.json")
    if damage == "no mark":
        mark.unlink()
    elif damage == "mark":
        mark.write_text('{"rows": 100000, "seconds": 1.0}')
    elif damage == "short":
        array.write_bytes(array.read_bytes()[:-1])
    else:
        np.save(array, expected[:, :-1])
    again = features_in(kept).of(examples, "train", pool)
    assert np.array_equal(again.inputs[again.rows], expected)


def test_a_full_disk_is_told_before_anything_is_computed(
    vgg, examples, tmp_path, monkeypatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 90, 10))
    kept = Unfinished(tmp_path, "train", {})
    with pytest.raises(MachineError) as caught:
        features_in(kept).of(examples, "train", Source(cut_at(vgg, None), 0))
    assert "MiB are free" in caught.value.what
    assert "features_gib" in caught.value.remedy
    assert not kept.folder.exists()
