"""Random changes of a batch: what each key does, from its seed alone, and only in training."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow")

import tensorflow as tf
import tf_keras
from PIL import Image

from toolchain.cli.app import main
from toolchain.data.stage import build_dataset
from toolchain.recipe import parse_recipe
from toolchain.recipe.sections import AugmentSection
from toolchain.training.augment import augment, is_active, mix
from toolchain.training.batches import Examples
from toolchain.training.fit import fit
from toolchain.training.inference import Inference
from toolchain.training.plan import Plan
from toolchain.training.preview import preview_grid
from toolchain.training.stage import preparation

TOLERANCE = {
    "resampled pixel": 1e-3,  # of 255: an affine map by whole pixels hits pixel centres
    "mixed pixel": 1e-3,
    "loss": 1e-5,
    "share of many draws": 0.03,
}
EVERY_KEY = {
    "flip": True,
    "rotation": 30.0,
    "zoom": 0.3,
    "shift": 0.2,
    "shear": 0.2,
    "brightness": 0.3,
    "contrast": 0.3,
    "erase": 0.4,
}


def photos(count: int = 8, size: int = 24) -> np.ndarray:
    random = np.random.default_rng(3)
    coarse = random.uniform(0, 255, (count, 6, 6, 3)).astype(np.float32)
    return tf.image.resize(coarse, (size, size)).numpy()


def changed(pixels: np.ndarray, seed: int = 1, **keys: object) -> np.ndarray:
    section = AugmentSection(**keys)
    return augment(tf.constant(pixels), section, tf.constant([seed, 5])).numpy()


@pytest.mark.parametrize(("key", "value"), EVERY_KEY.items())
def test_every_key_changes_photos_and_stays_in_range(key, value):
    before = photos()
    after = changed(before, **{key: value})
    assert (after.shape, after.dtype) == (before.shape, np.float32)
    assert after.min() >= 0
    assert after.max() <= 255
    assert not np.allclose(after, before, atol=1)
    assert is_active(AugmentSection(**{key: value}))


@pytest.mark.parametrize(("key", "value"), EVERY_KEY.items())
def test_the_seed_alone_decides(key, value):
    one, again, other = (changed(photos(), seed, **{key: value}) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_nothing_asked_for_changes_nothing():
    assert not is_active(AugmentSection())
    assert np.array_equal(changed(photos()), photos())


def test_flip_mirrors_about_half_of_them():
    before = photos(400, 8)
    after = changed(before, flip=True)
    bound = TOLERANCE["resampled pixel"] * 255
    kept = np.abs(after - before).max(axis=(1, 2, 3)) < bound
    mirrored = np.abs(after - before[:, :, ::-1]).max(axis=(1, 2, 3)) < bound
    assert np.all(kept ^ mirrored)
    assert 0.4 < mirrored.mean() < 0.6


class TestErase:
    def boxes(self, most: float, count: int = 300, size: int = 40):
        """Where each of many black photos was covered: bool [count, size, size], and the photos."""
        black = np.zeros((count, size, size, 3), np.float32)
        after = changed(black, erase=most)
        return after.any(axis=3), after

    @pytest.mark.parametrize("most", [0.1, 0.5, 0.9])
    def test_it_covers_one_box_of_one_colour_up_to_its_share(self, most):
        covered, after = self.boxes(most)
        for mask, photo in zip(covered, after, strict=True):
            if not mask.any():
                continue
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert box.all()
            assert len(np.unique(photo[mask], axis=0)) == 1
        # Rounding to whole pixels adds less than a row and a column.
        side = covered.shape[1]
        assert covered.mean(axis=(1, 2)).max() <= most + 2 / side
        assert covered.mean(axis=(1, 2)).max() > 0.8 * most

    def test_no_place_is_spared(self):
        covered, _ = self.boxes(0.5)
        assert covered.mean(axis=0).min() > 0

    def test_what_is_not_covered_stays(self):
        before = photos()
        after = changed(before, erase=0.3)
        same = (after == before).all(axis=3)
        assert np.all(same.mean(axis=(1, 2)) >= 0.6)


class TestMixup:
    def mixed(self, inputs: np.ndarray, alpha: float, seed: int = 1):
        result, share = mix(tf.constant(inputs), alpha, tf.constant([seed, 5]))
        return result.numpy(), share.numpy()

    @pytest.mark.parametrize("shape", [(8, 6, 6, 3), (7, 5), (1, 4)], ids=str)
    def test_each_is_blended_with_its_opposite_by_its_share(self, shape):
        inputs = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
        result, share = self.mixed(inputs, 0.4)
        own = share.reshape(-1, *[1] * (len(shape) - 1))
        expected = own * inputs + (1 - own) * inputs[::-1]
        assert share.shape == (shape[0],)
        assert np.allclose(result, expected, atol=TOLERANCE["mixed pixel"])

    @pytest.mark.parametrize("alpha", [1e-3, 0.2, 1.0, 8.0])
    def test_shares_are_of_the_beta_distribution(self, alpha):
        share = self.mixed(np.zeros((4000, 1), np.float32), alpha)[1]
        assert np.isfinite(share).all()
        assert 0 <= share.min() <= share.max() <= 1
        assert abs(share.mean() - 0.5) < TOLERANCE["share of many draws"]
        deviation = (1 / (4 * (2 * alpha + 1))) ** 0.5
        assert abs(share.std() - deviation) < TOLERANCE["share of many draws"]

    def test_the_seed_alone_decides(self):
        inputs = photos()
        assert np.array_equal(self.mixed(inputs, 0.4)[0], self.mixed(inputs, 0.4)[0])
        assert not np.array_equal(self.mixed(inputs, 0.4)[0], self.mixed(inputs, 0.4, 2)[0])


def linear(outputs: int = 3) -> tf_keras.Model:
    image = tf_keras.Input((4, 4, 3))
    flat = tf_keras.layers.Flatten()(image)
    initial = tf_keras.initializers.RandomNormal(stddev=0.05, seed=1)
    return tf_keras.Model(image, tf_keras.layers.Dense(outputs, kernel_initializer=initial)(flat))


def cross_entropy(logits: np.ndarray, labels: np.ndarray, smoothing: float) -> np.ndarray:
    log = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    target = np.eye(logits.shape[1])[labels] * (1 - smoothing) + smoothing / logits.shape[1]
    return -(target * log).sum(axis=1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_labels_are_mixed_as_their_photos_are(mixup, smoothing):
    """The loss of one epoch of one batch, against the same computed from its definition."""
    pixels = np.random.default_rng(1).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    labels = np.array([0, 1, 2, 0, 1, 2])
    examples = Examples(pixels, labels, np.arange(6))
    model = linear()
    kernel, bias = model.get_weights()
    plan = Plan(
        "train", 1, 6, 1e-3, 9, lambda x, s, t: x / 255, mixup=mixup, label_smoothing=smoothing
    )
    record = fit(model, examples, examples, plan).history[0]
    order = np.random.default_rng((9, 1)).permutation(np.arange(6))
    inputs, targets, share = pixels[order] / np.float32(255), labels[order], np.ones(6)
    if mixup:
        seed = tf.constant([9, 1_000_003], tf.int32)
        inputs, share = (part.numpy() for part in mix(tf.constant(inputs), mixup, seed))
        assert 0 < share.min() < 1
    logits = inputs.reshape(6, -1) @ kernel + bias
    own = cross_entropy(logits, targets, smoothing)
    other = cross_entropy(logits, targets[::-1], smoothing)
    expected = (share * own + (1 - share) * other).mean()
    assert record.loss == pytest.approx(expected, rel=TOLERANCE["loss"])
    dominant = np.where(share >= 0.5, targets, targets[::-1])
    assert record.accuracy == pytest.approx((logits.argmax(axis=1) == dominant).mean())


def recipe_of(path: Path, **augment: object):
    table = {
        "data": {"path": str(path), "validation": 0.2, "test": 0.2},
        "input": {"size": 32},
        "model": {"weights": "none"},
        "augment": augment,
    }
    return parse_recipe(table, name="preview")


def test_only_training_is_augmented(tmp_path):
    """Validation, calibration and features see the photo itself, whatever the recipe asks for."""
    recipe = recipe_of(tmp_path, mixup=0.4, **EVERY_KEY)
    prepare, pixels = preparation(recipe), tf.constant(photos(6, 32))
    plain = preparation(recipe_of(tmp_path))(pixels, tf.zeros([2], tf.int32), False)
    for seed in (1, 2):
        seen = prepare(pixels, tf.constant([seed, 5]), False)
        assert np.array_equal(seen, plain)
        assert not np.array_equal(prepare(pixels, tf.constant([seed, 5]), True), plain)


def test_validation_ignores_mixup():
    pixels = np.random.default_rng(1).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    examples = Examples(pixels, np.array([0, 1, 2, 0, 1, 2]), np.arange(6))
    model = linear()
    plan = Plan("train", 1, 6, 1e-9, 9, lambda x, s, t: x / 255, mixup=0.4)
    record = fit(model, examples, examples, plan).history[0]
    loss, accuracy = Inference(model, plan.prepare).evaluate(examples)
    assert record.validation_loss == pytest.approx(loss, rel=TOLERANCE["loss"])
    assert record.validation_accuracy == accuracy


class TestPreview:
    SIDE = 128  # 32 pixels enlarged to at least 112 by whole pixels

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        random = np.random.default_rng(0)
        for name in ("cat", "dog"):
            for number in range(30):
                coarse = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
                path = tmp_path / "photos" / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(coarse).resize((32, 32), Image.Resampling.BILINEAR).save(path)
        return tmp_path / "photos"

    def grid(self, folder: Path, count: int = 4, **augment: object):
        """The picture cut into its cells, [count, columns, 32, 32, 3], and the dataset."""
        recipe, out = recipe_of(folder, **augment), folder.parent / "out"
        out.mkdir(exist_ok=True)
        dataset = build_dataset(recipe, out)
        preview_grid(dataset, recipe, folder.parent / "preview.png", count)
        data = (folder.parent / "preview.png").read_bytes()
        picture = np.asarray(Image.open(io.BytesIO(data), formats=("PNG",)))
        cells = []
        step = self.SIDE // 32
        for top in range(36, picture.shape[0] - self.SIDE, self.SIDE + 24):
            row = [
                picture[top : top + self.SIDE : step, left : left + self.SIDE : step]
                for left in range(6, picture.shape[1] - self.SIDE, self.SIDE + 6)
            ]
            cells.append(row)
        return np.asarray(cells), dataset

    def test_rows_begin_with_training_photos_of_every_class(self, folder):
        cells, dataset = self.grid(folder, rotation=30.0)
        assert cells.shape == (4, 7, 32, 32, 3)
        train = dataset.indices("train")
        pixels = dataset.pixels()[train]
        found = [np.flatnonzero((pixels == row[0]).all(axis=(1, 2, 3))) for row in cells]
        assert [len(places) for places in found] == [1, 1, 1, 1]
        labels = [dataset.labels[train[places[0]]] for places in found]
        assert labels == [0, 0, 1, 1]

    def test_versions_are_changed_each_in_its_own_way(self, folder):
        cells, _ = self.grid(folder, rotation=30.0, shift=0.2)
        for row in cells:
            assert len({cell.tobytes() for cell in row}) == len(row)

    def test_without_augmentation_all_versions_are_the_photo(self, folder):
        cells, _ = self.grid(folder)
        assert np.all(cells == cells[:, :1])

    def test_mixed_versions_lie_between_a_photo_and_its_opposite(self, folder):
        cells, _ = self.grid(folder, mixup=1.0)
        own, other = cells[:, :1].astype(int), cells[::-1, :1].astype(int)
        low, high = np.minimum(own, other) - 1, np.maximum(own, other) + 1
        assert np.all((low <= cells) & (cells <= high))
        assert not np.all(cells == cells[:, :1])

    def test_more_than_there_are_gives_all(self, folder):
        cells, dataset = self.grid(folder, count=1000)
        assert len(cells) == len(dataset.indices("train"))

    def test_the_command_writes_the_grid(self, folder, tmp_path, monkeypatch):
        out, runs = tmp_path / "seen.png", tmp_path / "runs"
        words = ["--data", folder, "--runs", runs, "--out", out, "--count", 3]
        changed = ["--set", "input.size=32", "--set", "augment.rotation=30"]
        monkeypatch.setattr(
            "sys.argv", ["toolchain", "data", "preview", *map(str, words), *changed]
        )
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 0
        with Image.open(out, formats=("PNG",)) as grid:
            assert grid.size == (6 + 7 * (self.SIDE + 6), 36 + 3 * (self.SIDE + 24))
        assert [path.name for path in tmp_path.iterdir() if path.suffix == ".png"] == ["seen.png"]
