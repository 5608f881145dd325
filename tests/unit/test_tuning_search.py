"""The order of a search, with the stages replaced by made-up trials: nothing is trained here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import in_process
from test_tuning import base, trial

from toolchain.cli import search
from toolchain.errors import ExitCode, GateError, MachineError, ModelError
from toolchain.recipe import load_recipe
from toolchain.tuning.values import Budget, Trials
from toolchain.values import FileVerification, Interval, Verification

# (alpha, size) -> validation accuracy and milliseconds.
KNOWN = {(0.35, 96): (0.95, 0.5), (0.35, 160): (0.96, 1.2), (1.0, 96): (0.965, 1.4)}
KNOWN[1.0, 160] = (0.985, 3.0)


class Stages:
    """What was asked of the stages, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.tried: list[str] = []
        self.ran: list[tuple[str, str]] = []
        self.recipe = base(weights="none")
        self.folder = folder
        monkeypatch.setattr(search, "_try", self._try)
        monkeypatch.setattr(search, "run_chain", self._run_chain)
        monkeypatch.setattr(search.published, "verification", self._verification)

    def _try(self, variant, runs):
        self.tried.append(variant.name)
        accuracy, ms = KNOWN[variant.alpha, variant.size]
        mb = 1.6 if variant.alpha < 1 else 9.0
        found = trial(variant.alpha, variant.size, accuracy, ms, mb)
        return Trials({"processor": "Example CPU"}, (found,))

    def _run_chain(self, recipe, run, until):
        self.ran.append((recipe.name, until))

    def _verification(self, run):
        file = f"{run.name}.fp32.tflite"
        accuracy = Interval(0.94, 0.92, 0.96)
        found = FileVerification(
            file, "tflite", "fp32", "litert", 500, 1.0, 0.0, accuracy, 0.94, ((1,),), ()
        )
        return Verification(("a",), (found,), passed=True)

    def search(self, budget: Budget):
        return search.search(
            self.recipe, self.folder, alphas=[0.35, 1.0], sizes=[96, 160], budget=budget
        )


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stages:
    for name in ("cats-a0.35-s96", "cats-a0.35-s160", "cats-a1-s96", "cats-a1-s160"):
        (tmp_path / name).mkdir()
    return Stages(monkeypatch, tmp_path)


def test_only_the_chosen_variant_meets_the_test_split(stages: Stages) -> None:
    found = stages.search(Budget(max_ms=2))
    assert found["trials"][found["chosen"]]["variant"] == "cats-a0.35-s160"
    assert stages.ran == [("cats-a0.35-s160", "report")]
    assert found["test"] == {"value": 0.94, "low": 0.92, "high": 0.96}
    recipe = load_recipe(Path(found["ships"]))
    assert (recipe.name, recipe.model.alpha, recipe.input.size) == ("cats-a0.35-s160", 0.35, 160)
    assert recipe.export.formats == ("tflite", "onnx")
    data = json.loads((stages.folder / "cats-tune.json").read_text())
    assert data["test"]["value"] == 0.94


def test_a_variant_that_cannot_fit_is_not_trained(stages: Stages) -> None:
    found = stages.search(Budget(max_ms=1))
    assert stages.tried == ["cats-a0.35-s96", "cats-a0.35-s160", "cats-a1-s96"]
    (untried,) = found["untried"]
    assert untried["variant"] == "cats-a1-s160"
    assert "every file of cats-a0.35-s160, which is no larger" in untried["reason"]


def test_a_missing_weights_file_is_told_and_the_download_tried_once(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def weights_path(recipe):
        asked.append(recipe.name)
        if recipe.model.alpha < 1:
            raise MachineError("ImageNet weights cannot be downloaded: no route", "url")
        return Path("weights.h5")

    stages.recipe = base()
    monkeypatch.setattr(search, "weights_path", weights_path)
    monkeypatch.setattr(
        search, "find_imagenet", lambda one: Path("w.h5") if one.model.alpha == 1 else None
    )
    found = stages.search(Budget())
    assert stages.tried == ["cats-a1-s96", "cats-a1-s160"]
    assert asked == ["cats-a0.35-s96", "cats-a1-s96", "cats-a1-s160"]
    reasons = [one["reason"] for one in found["untried"]]
    assert len(reasons) == 2
    assert all("not on this machine" in reason and "no route" in reason for reason in reasons)


def test_a_variant_that_the_weights_file_does_not_fit_is_told(
    stages: Stages, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    weights = tmp_path / "mine.safetensors"
    weights.touch()
    stages.recipe = base(weights=str(weights))
    ours = search._try

    def fits_narrow(variant, runs):
        if variant.alpha == 1:
            raise ModelError("Conv1/kernel: expected shape 3x3x3x32", str(weights), "check it")
        return ours(variant, runs)

    monkeypatch.setattr(search, "_try", fits_narrow)
    found = stages.search(Budget())
    assert stages.tried == ["cats-a0.35-s96", "cats-a0.35-s160"]
    assert [one["variant"] for one in found["untried"]] == ["cats-a1-s96", "cats-a1-s160"]
    assert "expected shape 3x3x3x32" in found["untried"][0]["reason"]


def test_any_other_damaged_file_ends_the_search(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(variant, runs):
        raise ModelError("cannot be read", "pixels.npy", "run: make train")

    monkeypatch.setattr(search, "_try", damaged)
    with pytest.raises(ModelError, match="cannot be read"):
        stages.search(Budget())


def test_nothing_within_the_budget_is_a_missed_gate_with_a_page(stages: Stages) -> None:
    with pytest.raises(GateError, match=r"No file is within 0\.1 ms"):
        stages.search(Budget(max_ms=0.1))
    assert stages.ran == []
    assert "No file is within" in (stages.folder / "cats-tune.html").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--formats", "tflit"), "export.formats: expected one of tflite, onnx"),
        (("--precisions", "int8"), "export.precisions: expected one of"),
        (("--alphas", "0.36", "--sizes", "48"), "a width and a size that a recipe may have"),
        (("--alphas", ","), "numbers with commas between"),
    ],
)
def test_what_cannot_be_tried_is_wrong_input_and_no_missed_gate(
    options: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    done = in_process("tune", *options, cwd=tmp_path)
    assert done.returncode == ExitCode.INPUT
    assert words in done.stderr
    assert not any(tmp_path.iterdir())
