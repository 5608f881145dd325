"""What a report concludes from answers, heat maps and history, on numbers worked out by hand."""

from __future__ import annotations

import base64
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import report_values as values
from PIL import Image

from toolchain.evidence import Answers, FileAnswers, Heatmaps
from toolchain.overfitting import overfitting
from toolchain.report.calibration import calibration, calibration_change
from toolchain.report.gallery import flips, worst_mistakes
from toolchain.report.lineage import lineage
from toolchain.report.pareto import pareto_front
from toolchain.report.pictures import SIDE, make_pictures
from toolchain.report.words import believed, calibration_changed, flipped
from toolchain.values import Dataset, EpochRecord


def said(called: list[int], sure: list[float]) -> FileAnswers:
    confidence = np.asarray(sure, np.float32)
    return FileAnswers(np.asarray(called), confidence, confidence)


def photos(labels: list[int], **files: FileAnswers) -> Answers:
    return Answers(np.arange(len(labels)) + 10, np.asarray(labels), files)


@pytest.fixture
def dataset() -> Dataset:
    return values.dataset(("cat", "dog", "owl"))


def test_calibration_error_is_the_mean_distance_weighed_by_photos() -> None:
    """Four photos 90 % sure of which three are right, one photo 50 % sure and wrong."""
    answers = said([0, 0, 0, 1, 1], [0.9, 0.9, 0.9, 0.9, 0.5])
    found = calibration("a", answers, np.asarray([0, 0, 0, 0, 0]))
    assert found.error == pytest.approx((4 * 0.15 + 1 * 0.5) / 5, abs=1e-6)
    assert [(one.count, one.accuracy.value) for one in found.bins] == [(1, 0.0), (4, 0.75)]
    assert (found.accuracy, found.confidence) == pytest.approx((0.6, 0.82))
    assert "22.0 points too sure" in believed(found)


def test_a_file_that_is_as_right_as_it_is_sure_has_no_error() -> None:
    called, labels = [0] * 10, np.asarray([0] * 8 + [1] * 2)
    found = calibration("a", said(called, [0.8] * 10), labels)
    assert found.error == pytest.approx(0, abs=1e-6)
    assert "about as sure as it is right" in believed(found)


def test_full_confidence_belongs_to_the_last_bin() -> None:
    assert len(calibration("a", said([0], [1.0]), np.asarray([0])).bins) == 1


def test_a_change_of_calibration_is_told_only_when_the_photos_tell_it() -> None:
    random = np.random.default_rng(0)
    sure = np.full(2000, 0.9)
    labels = np.where(random.uniform(size=2000) < 0.9, 0, 1)
    good, same = said([0] * 2000, sure), said([0] * 2000, sure)
    sure_of_all = said([0] * 2000, np.full(2000, 0.999))
    answers = Answers(np.arange(2000), labels, {"a": good, "b": same, "c": sure_of_all})
    change = calibration_change(answers, "a", "b")
    assert (change.conclusive, change.difference.value) == (False, 0.0)
    assert "too few to tell" in calibration_changed(change)
    worse = calibration_change(answers, "a", "c")
    assert worse.conclusive
    assert worse.difference.low < worse.difference.value < worse.difference.high
    assert "made it worse" in calibration_changed(worse)
    assert "made it better" in calibration_changed(calibration_change(answers, "c", "a"))


def test_the_surest_mistake_comes_first(dataset: Dataset) -> None:
    answers = photos([0, 1, 2, 0], a=said([0, 0, 1, 2], [0.99, 0.6, 0.9, 0.7]))
    found = worst_mistakes(answers, "a", dataset)
    assert [(one.row, one.true, one.called) for one in found] == [
        (12, "owl", "dog"),
        (13, "cat", "owl"),
        (11, "dog", "cat"),
    ]
    assert found[0].confidence == pytest.approx(0.9)


def test_flips_are_counted_by_what_they_did(dataset: Dataset) -> None:
    answers = photos(
        [0, 0, 0, 1, 2],
        a=said([0, 1, 1, 1, 2], [0.9, 0.8, 0.7, 0.6, 0.5]),
        b=said([1, 0, 2, 1, 2], [0.5, 0.6, 0.7, 0.8, 0.9]),
    )
    found = flips(answers, "a", "b", dataset)
    assert [flip.effect for flip in found.flips] == ["lost", "gained", "as wrong"]
    assert (found.flips[0].photo.called, found.flips[0].after) == ("cat", "dog")
    text = flipped(found)
    assert "3 of 5 test photos otherwise" in text
    assert "1 right before and wrong after" in text
    assert "1 wrong before and right after" in text
    assert "all 5 test photos as b does" in flipped(flips(answers, "b", "b", dataset))


def record(phase: str, epoch: int, train: float, held: float, loss=(0.1, 0.1)) -> EpochRecord:
    return EpochRecord(phase, epoch, loss[0], train, loss[1], held, 1e-3, 1.0)


@pytest.mark.parametrize(
    ("train", "verdict", "has_remedy"),
    [(0.99, "No overfitting", False), (0.955, "a little", True), (0.999, "It overfits:", True)],
)
def test_overfitting_is_told_by_its_size(train: float, verdict: str, has_remedy: bool) -> None:
    found = overfitting([record("train", 1, train, 0.98 if train == 0.99 else 0.93)], 0)
    assert found is not None
    assert verdict in found.verdict
    assert bool(found.remedy) is has_remedy
    assert f"{100 * train:.1f} % on train" in found.verdict


def test_the_start_of_a_phase_has_no_train_figure_of_its_own() -> None:
    """Fine-tuning never got better than its start, so the head's best epoch is what counts."""
    history = [
        record("train", 1, 0.80, 0.9, (0.5, 0.4)),
        record("train", 2, 0.99, 0.91, (0.2, 0.3)),
        record("fine_tune", 0, 0.91, 0.91),
        record("fine_tune", 1, 1.0, 0.85),
    ]
    found = overfitting(history, 2)
    assert found is not None
    assert found.train == 0.99
    assert overfitting(history[2:3], 0) is None
    assert overfitting((), 0) is None


def test_a_validation_loss_that_rises_while_train_loss_falls_is_told() -> None:
    losses = [(0.9, 0.8), (0.5, 0.5), (0.3, 0.6), (0.1, 0.9)]
    history = [record("train", at, 0.9, 0.9, loss) for at, loss in enumerate(losses, start=1)]
    found = overfitting(history, 1)
    assert found is not None
    assert found.rising
    assert "made the validation loss worse" in found.verdict
    assert not overfitting(history[:2], 1).rising


@pytest.mark.parametrize(
    ("costs", "gains", "front"),
    [
        ([3, 1, 2], [0.9, 0.7, 0.8], [1, 2, 0]),
        ([1, 2, 3], [0.9, 0.8, 0.95], [0, 2]),
        ([1, 1, 2], [0.8, 0.9, 0.9], [1]),
        ([1, 1], [0.5, 0.5], [0]),
        ([], [], []),
    ],
)
def test_pareto(costs, gains, front) -> None:
    assert pareto_front(costs, gains) == front


def test_lineage_says_what_was_made_from_what() -> None:
    from tiny_network import contract

    from toolchain.contract import ExportedModel

    carried = dataclasses.replace(
        contract(precision="int8-qat"),
        lineage={"recipe_sha256": "r", "data_sha256": "d", "weights_sha256": "q"},
    )
    links = lineage(
        [ExportedModel(Path("a.int8-qat.onnx"), "f", carried)],
        {"backbone": "b", "trained": "t", "quantized": "q"},
    )
    assert [(link.what, link.sha256, link.made_from) for link in links] == [
        ("recipe", "r", ""),
        ("photos and their split", "d", ""),
        ("backbone's weights", "b", ""),
        ("trained weights", "t", "recipe, photos, backbone's weights"),
        ("quantized weights", "q", "trained weights, photos"),
        ("a.int8-qat.onnx", "f", "quantized weights"),
    ]


def decoded(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int64)


def test_a_heat_map_leaves_the_photo_lit_where_it_is_high() -> None:
    pixels = np.full((2, 160, 160, 3), (200, 100, 40), np.uint8)
    heat = np.zeros((1, 5, 5), np.float32)
    heat[0, :, :2] = 1
    one = np.zeros(1, np.int64)
    maps = Heatmaps("layer", one + 1, one, one, np.ones(1, np.float32), heat)
    made = make_pictures([0], maps, pixels)
    assert set(made.photos) == {0, 1}
    assert set(made.heat) == {1}
    lit = decoded(made.heat[1])
    assert lit.shape == (SIDE, SIDE, 3)
    assert lit[96, 10] == pytest.approx((200, 100, 40), abs=6)
    dark = lit[96, 180]
    assert dark.max() < 60
    assert dark.max() - dark.min() < 8
