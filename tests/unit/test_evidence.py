"""What verify keeps of single photos comes back as it was, and says so when it is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from toolchain.errors import ModelError
from toolchain.evidence import Answers, FileAnswers, Heatmaps, LayerError, Sensitivity
from toolchain.verification.metrics import telling

PROBABILITIES = np.asarray([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]], np.float32)
LABELS = np.asarray([0, 0, 1])


def answers() -> Answers:
    files = {"a.fp32.onnx": FileAnswers.of(PROBABILITIES, LABELS)}
    return Answers(np.asarray([5, 7, 9]), LABELS, files)


def test_answers_hold_the_called_class_its_confidence_and_the_truths() -> None:
    found = FileAnswers.of(PROBABILITIES, LABELS)
    assert found.called.tolist() == [0, 1, 1]
    assert found.confidence == pytest.approx([0.9, 0.6, 0.8])
    assert found.truth == pytest.approx([0.9, 0.4, 0.8])


def test_answers_are_saved_and_read(tmp_path: Path) -> None:
    made = answers()
    made.save(tmp_path)
    found = Answers.load(tmp_path)
    assert found is not None
    assert found.rows.tolist() == [5, 7, 9]
    assert found.labels.tolist() == [0, 0, 1]
    (name, one), (_, expected) = *found.files.items(), *made.files.items()
    assert name == "a.fp32.onnx"
    for part in ("called", "confidence", "truth"):
        assert np.array_equal(getattr(one, part), getattr(expected, part))


def test_heatmaps_are_saved_and_read(tmp_path: Path) -> None:
    maps = np.linspace(0, 1, 18, dtype=np.float32).reshape(2, 3, 3)
    sure = np.asarray([0.9, 0.8], np.float32)
    Heatmaps("block", LABELS[:2], LABELS[:2], LABELS[1:], sure, maps).save(tmp_path)
    found = Heatmaps.load(tmp_path)
    assert found is not None
    assert found.layer == "block"
    assert found.called.tolist() == [0, 1]
    assert np.array_equal(found.maps, maps)


def test_a_run_from_before_has_none(tmp_path: Path) -> None:
    assert Answers.load(tmp_path) is None
    assert Heatmaps.load(tmp_path) is None
    assert Sensitivity.load(tmp_path) is None


def test_layers_are_saved_and_read(tmp_path: Path) -> None:
    made = Sensitivity(
        (LayerError("block_1", "conv", 31.5, 34.0), LayerError("logits", "dense", 44.0, 50.0))
    )
    made.save(tmp_path)
    assert Sensitivity.load(tmp_path) == made


@pytest.mark.parametrize("damage", [lambda data: data[:40], lambda data: b"\xff" * len(data)])
def test_damage_is_an_error_with_its_remedy(damage, tmp_path: Path) -> None:
    answers().save(tmp_path)
    path = tmp_path / "answers.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match="cannot be read") as caught:
        Answers.load(tmp_path)
    assert "make verify" in "".join(caught.value.lines())


def test_a_file_of_something_else_is_an_error(tmp_path: Path) -> None:
    answers().save(tmp_path)
    (tmp_path / "answers.safetensors").rename(tmp_path / "heatmaps.safetensors")
    with pytest.raises(ModelError, match="expected called, confidence, layer, maps"):
        Heatmaps.load(tmp_path)


def test_photos_to_look_at_are_the_surest_mistakes_and_one_right_one_a_class() -> None:
    sure = np.asarray([0.9, 0.7, 0.8, 0.6, 0.99, 0.95, 0.65])
    called = np.asarray([0, 0, 0, 1, 1, 0, 2])
    labels = np.asarray([0, 0, 0, 1, 0, 1, 0])
    probabilities = np.zeros((7, 3), np.float32)
    probabilities[np.arange(7), called] = sure
    # Rows 4, 5 and 6 are wrong; of class 0 row 2 has the median confidence, of class 1 row 3.
    assert telling(probabilities, labels, each=2).tolist() == [4, 5, 2, 3]
    assert telling(probabilities, labels, each=9).tolist() == [4, 5, 6, 2, 3]
