"""The whole chain as a user types it: what comes out, and what is run again after a change."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from command_line import in_process, settings, toolchain
from PIL import Image

from toolchain.evidence import ClientResize
from toolchain.run import Run

STAGES = ("data", "train", "quantize", "export", "verify", "benchmark", "report")
FILES = (
    "digits.fp32.tflite",
    "digits.fp32.onnx",
    "digits.int8-qat.tflite",
    "digits.int8-qat.onnx",
)
# Nothing to do: seconds for Python, the recipe and the manifests, on a noisy machine.
SECONDS_WHEN_CURRENT = 10.0
LEAST_ACCURACY = 0.8


def done(stderr: str) -> list[str]:
    """The stages that were run, in order."""
    return re.findall(r"^(\w+): done in", stderr, flags=re.MULTILINE)


def current(stderr: str) -> list[str]:
    return re.findall(r"^(\w+): up to date", stderr, flags=re.MULTILINE)


def test_every_stage_leaves_its_folder(digits_run) -> None:
    folder = digits_run.run.folder
    assert done(digits_run.result.stderr) == list(STAGES)
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {*STAGES, "logs"}
    for stage in STAGES:
        assert (folder / stage / "manifest.json").is_file()
    assert not list(folder.rglob("*tmp-*"))


def test_the_files_a_user_came_for_are_there(digits_run) -> None:
    export, report = digits_run.run.stage("export"), digits_run.run.stage("report")
    assert {path.name for path in export.iterdir()} == {
        *FILES,
        "labels.txt",
        "contract.json",
        "goldens",
        "recipe.toml",
        "manifest.json",
    }
    assert (export / "labels.txt").read_text().split() == list("0123456789")
    assert {path.name for path in report.iterdir()} >= {"report.html", "report.json", "report.md"}
    for name in FILES:
        assert name in (report / "report.md").read_text()


def test_the_chain_learned_something_and_int8_kept_it(digits_run) -> None:
    data = json.loads((digits_run.run.stage("verify") / "verification.json").read_text())
    assert data["passed"] is True
    assert {file["file"] for file in data["files"]} == set(FILES)
    assert all(file["accuracy"]["value"] > LEAST_ACCURACY for file in data["files"])


def test_what_mediapipes_resize_changes_is_measured(digits_run) -> None:
    """The digits are enlarged, so taking corners for centres moves them."""
    effect = ClientResize.load(digits_run.run.stage("verify"))
    assert set(effect.files) == {name for name in FILES if name.endswith(".tflite")}
    assert effect.photos == 200
    assert effect.byte_difference > 1
    page = (digits_run.run.stage("report") / "report.html").read_text()
    assert "MediaPipe's tasks resize" in html.unescape(page)


def test_the_native_libraries_talk_to_the_log(digits_run) -> None:
    assert "Could not find cuda" not in digits_run.result.stderr
    assert "Traceback" not in digits_run.result.stderr
    assert digits_run.run.log("export").stat().st_size > 0


def test_a_second_run_has_nothing_to_do(digits_run) -> None:
    before = {path: path.stat().st_mtime_ns for path in digits_run.run.folder.rglob("*")}
    started = time.monotonic()
    again = toolchain("run", *digits_run.options(), "--json")
    seconds = time.monotonic() - started
    assert again.returncode == 0, again.stderr
    assert (current(again.stderr), done(again.stderr)) == (list(STAGES), [])
    assert seconds < SECONDS_WHEN_CURRENT
    found = json.loads(again.stdout)
    assert found["stage"] == "report"
    assert "report.html" in found["files"]
    published = {path: at for path, at in before.items() if path.parent.name in STAGES}
    assert published == {path: path.stat().st_mtime_ns for path in published}


@pytest.fixture
def copied(digits_run, tmp_path: Path):
    """The run in a place of its own, to be changed; times of change are kept."""
    shutil.copytree(digits_run.root, tmp_path / "runs")
    return replace(digits_run, root=tmp_path / "runs")


def test_a_damaged_file_is_made_again(copied) -> None:
    """A published file that was touched is noticed, and only its stage and what follows rerun."""
    path = copied.run.stage("report") / "report.md"
    path.write_text("all is well\n")
    again = in_process("run", *copied.options())
    assert again.returncode == 0, again.stderr
    assert (current(again.stderr), done(again.stderr)) == (list(STAGES[:-1]), ["report"])
    assert "digits.fp32.onnx" in path.read_text()


def test_json_is_all_that_is_on_stdout(copied) -> None:
    shown = in_process("export", *copied.options(), "--json")
    data = json.loads(shown.stdout)
    assert Path(data["folder"]) == copied.run.stage("export")
    assert set(FILES) <= set(data["files"])
    assert data["files"]["digits.fp32.onnx"]["bytes"] == (
        copied.exported("digits.fp32.onnx").stat().st_size
    )


@pytest.fixture(scope="module")
def digit_photos(digits_run, tmp_path_factory) -> Path:
    """Test digits as PNG files, their class in the name."""
    folder, dataset = tmp_path_factory.mktemp("digits"), digits_run.dataset
    for row in dataset.indices("test")[:40]:
        Image.fromarray(np.asarray(dataset.pixels()[row])).save(
            folder / f"{dataset.labels[row]}_{row}.png"
        )
    return folder


@pytest.mark.parametrize("name", FILES)
def test_predict_reads_digits(name: str, digits_run, digit_photos: Path) -> None:
    shown = in_process("predict", digits_run.exported(name), digit_photos, "--json", "--top", 1)
    assert shown.returncode == 0, shown.stderr
    images = json.loads(shown.stdout)["images"]
    right = [Path(one["image"]).name[0] == one["top"][0]["label"] for one in images]
    assert len(right) == 40
    assert np.mean(right) > LEAST_ACCURACY


@pytest.mark.parametrize("name", FILES)
def test_inspect_finds_what_the_name_says(name: str, digits_run) -> None:
    shown = in_process("inspect", digits_run.exported(name), "--json")
    assert shown.returncode == 0, shown.stderr
    data = json.loads(shown.stdout)
    assert data["true_scheme"] == ("int8" if "int8" in name else "fp32")
    assert data["promised_by"] == {"name": name.split(".")[1], "contract": name.split(".")[1]}
    assert data["float_islands"] == []


@dataclass(frozen=True)
class PhotoRun:
    """A finished `toolchain run` of a user's folder, in float: nothing is quantized."""

    photos: Path
    root: Path
    result: subprocess.CompletedProcess[str] | None = None

    def type(self, command: str, **changes: object) -> subprocess.CompletedProcess[str]:
        """The command that made it, with another stage or some settings changed."""
        options = settings(**FLOAT | changes)
        return in_process(command, "--data", self.photos, *options, "--runs", self.root)

    @property
    def run(self) -> Run:
        return Run(self.root, "my-photos")


FLOAT = {
    "model__weights": "none",
    "model__alpha": 0.35,
    "input__size": 32,
    "train__epochs": 2,
    "export__formats": '["onnx"]',
    "export__precisions": '["fp32"]',
    "export__onnx_static": "true",
    "benchmark__runtimes": '["onnxruntime"]',
    "benchmark__runs": 10,
    "benchmark__seconds": 0,
    "benchmark__processes": 2,
    "benchmark__batches": "[1]",
    "benchmark__warmup_seconds": 0,
}


@pytest.fixture(scope="module")
def photo_run(tmp_path_factory) -> PhotoRun:
    """Reddish and bluish photos, and a stray text file."""
    folder = tmp_path_factory.mktemp("home") / "my photos"
    random = np.random.default_rng(0)
    for channel, name in ((0, "red"), (2, "blue")):
        (folder / name).mkdir(parents=True)
        for index in range(40):
            pixels = random.integers(0, 120, (24, 30, 3), dtype=np.uint8)
            pixels[:, :, channel] += 120
            Image.fromarray(pixels).save(folder / name / f"{index}.jpg")
    (folder / "notes.txt").write_text("from the garden")
    made = PhotoRun(folder, tmp_path_factory.mktemp("runs"))
    return replace(made, result=made.type("run"))


@pytest.fixture
def own(photo_run: PhotoRun, tmp_path: Path) -> PhotoRun:
    """The run in a place of its own, to be changed."""
    shutil.copytree(photo_run.root, tmp_path / "runs")
    return replace(photo_run, root=tmp_path / "runs")


def test_own_photos_go_through_without_int8(photo_run: PhotoRun) -> None:
    """Not asked for, nothing is quantized, and the report still has its page."""
    assert photo_run.result.returncode == 0, photo_run.result.stderr
    folder = photo_run.run.folder
    assert {path.name for path in (folder / "export").glob("*.onnx")} == {
        "my-photos.fp32.onnx",
        "my-photos.fp32.b1.onnx",
    }
    assert (folder / "export" / "labels.txt").read_text().split() == ["blue", "red"]
    assert (folder / "report" / "report.html").is_file()


def test_changing_a_gate_runs_again_what_reads_it(own: PhotoRun) -> None:
    again = own.type("run", verify__int8_agreement=0.85)
    assert again.returncode == 0, again.stderr
    assert current(again.stderr) == ["data", "train", "export"]
    assert done(again.stderr) == ["verify", "benchmark", "report"]


def test_changing_the_export_runs_again_what_reads_it(own: PhotoRun) -> None:
    again = own.type("benchmark", export__onnx_static="false", export__opset=19)
    assert again.returncode == 0, again.stderr
    assert current(again.stderr) == ["data", "train"]
    assert done(again.stderr) == ["export", "verify", "benchmark"]
    names = {path.name for path in own.run.stage("export").glob("*.onnx")}
    assert names == {"my-photos.fp32.onnx"}


def test_a_missed_gate_exits_with_3_and_leaves_no_mark(own: PhotoRun) -> None:
    missed = own.type("verify", verify__fp32_difference=0.0)
    assert missed.returncode == 3
    errors = [line for line in missed.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "verify.fp32_difference" in errors[0]
