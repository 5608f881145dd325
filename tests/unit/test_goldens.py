"""Golden vectors: replayed anywhere, and every step that a client can get wrong is named."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from command_line import in_process
from golden_files import (
    ONNX,
    TFLITE,
    forge_hashes,
    kernel,
    write_export,
    write_position_onnx,
)
from PIL import Image, ImageOps
from tiny_network import CLASSES, FRAME, SIZE
from tiny_tflite import build_tflite, uint8_contract, write_tflite
from typer.testing import CliRunner

from toolchain.cli.verify import verify
from toolchain.errors import ExitCode, InputError, ModelError
from toolchain.goldens import check_client, replay
from toolchain.goldens.mistakes import explain_pixels
from toolchain.images import preprocess
from toolchain.images.preprocess import Frame, Preprocessing
from toolchain.runtimes import open_runner


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_export(tmp_path_factory.mktemp("export") / "export")


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy elsewhere, to be changed."""
    return Path(shutil.copytree(exported, tmp_path / "copied elsewhere"))


def record(folder: Path) -> dict:
    return json.loads((folder / "goldens" / "goldens.json").read_text())


def test_an_untouched_folder_replays_wherever_it_lies(folder: Path) -> None:
    result = in_process("verify", "--contract", folder, "--json")
    assert result.returncode == ExitCode.DONE, result.stderr
    rows = {row["file"]: row for row in json.loads(result.stdout)}
    assert set(rows) == {ONNX, TFLITE}
    assert (rows[ONNX]["runtime"], rows[TFLITE]["runtime"]) == ("onnxruntime", "litert")
    assert all(row["finding"] is None and row["difference"] <= 1e-6 for row in rows.values())


def test_the_dozen_shows_what_clients_get_wrong(exported: Path) -> None:
    pictures = {}
    for entry in record(exported)["images"]:
        pictures[entry["file"]] = Image.open(exported / "goldens" / entry["file"])
        pixels = Image.open(exported / "goldens" / entry["pixels"])
        assert (pixels.mode, pixels.size) == ("RGB", (SIZE, SIZE))
    assert len(pictures) == 12
    modes = {picture.mode for picture in pictures.values()}
    assert {"RGB", "L", "RGBA", "P", "I;16"} <= modes
    assert sorted(picture.getexif().get(0x0112, 1) for picture in pictures.values())[-2:] == [2, 6]
    shapes = {picture.width / picture.height for picture in pictures.values()}
    assert min(shapes) < 0.6 and max(shapes) > 2
    assert {picture.format for picture in pictures.values()} == {"JPEG", "PNG"}


def test_the_record_is_enough_for_another_language(exported: Path) -> None:
    """Pixels, the float value of each byte, raw output and probabilities, all plain JSON or PNG."""
    data = record(exported)
    ends = [data["normalised"][byte] for byte in (0, 128, 255)]
    assert ends == pytest.approx([-128 / 127.5, 0.0, 127 / 127.5], abs=1e-6)
    rows = np.asarray(data["files"][TFLITE]["output"])
    assert np.array_equal(rows, np.round(rows)) and rows.max() > 1
    scores = np.asarray(data["files"][TFLITE]["probabilities"])
    assert np.abs(rows / 256 - scores).max() < 1e-6
    assert data["labels"] == list(CLASSES)


# Ten ways to go wrong, ours: each is planted in the code that decodes or in the folder.


def _patch_resize(monkeypatch, resize) -> None:
    monkeypatch.setattr(preprocess, "resize", resize)


def _resample(how):
    return lambda image, frame: np.asarray(frame.middle(image).resize((SIZE, SIZE), how))


def _without_antialias(image: Image.Image, frame: Frame) -> np.ndarray:
    middle = frame.middle(image)
    steps = (middle.width / SIZE, 0, 0, 0, middle.height / SIZE, 0)
    return np.asarray(
        middle.transform((SIZE, SIZE), Image.Transform.AFFINE, steps, Image.Resampling.BILINEAR)
    )


def _square(image: Image.Image, frame: Frame) -> np.ndarray:
    return np.asarray(ImageOps.fit(frame.middle(image), (SIZE, SIZE), Image.Resampling.BILINEAR))


def bgr(monkeypatch, folder: Path) -> None:
    right = preprocess.resize
    _patch_resize(monkeypatch, lambda image, frame: right(image, frame)[..., ::-1])


def no_antialias(monkeypatch, folder: Path) -> None:
    _patch_resize(monkeypatch, _without_antialias)


def nearest(monkeypatch, folder: Path) -> None:
    _patch_resize(monkeypatch, _resample(Image.Resampling.NEAREST))


def crop(monkeypatch, folder: Path) -> None:
    _patch_resize(monkeypatch, _square)


def whole_photo(monkeypatch, folder: Path) -> None:
    right = preprocess.resize
    _patch_resize(monkeypatch, lambda image, frame: right(image, Frame(frame.size)))


def one_pixel_off(monkeypatch, folder: Path) -> None:
    right = preprocess.resize
    larger = Frame(SIZE + 1, FRAME.crop)
    _patch_resize(monkeypatch, lambda image, frame: right(image, larger)[:SIZE, :SIZE])


def exif_ignored(monkeypatch, folder: Path) -> None:
    monkeypatch.setattr(
        preprocess, "open_rgb", lambda data, name: Image.open(io.BytesIO(data)).convert("RGB")
    )


def grey(monkeypatch, folder: Path) -> None:
    right = preprocess.open_rgb
    monkeypatch.setattr(
        preprocess, "open_rgb", lambda data, name: right(data, name).convert("L").convert("RGB")
    )


def unit_range(monkeypatch, folder: Path) -> None:
    write_position_onnx(folder, preprocessing=Preprocessing.of("unit", SIZE, FRAME.crop))
    forge_hashes(folder)


def labels_shuffled(monkeypatch, folder: Path) -> None:
    write_position_onnx(folder, labels=("green", "blue", "red"))
    forge_hashes(folder)


def wrong_scale(monkeypatch, folder: Path) -> None:
    """The file and its contract both say half of the scale that the output has."""
    build, carried = build_tflite("int8", "int8", "uint8"), uint8_contract()
    build.graph.tensors[build.graph.outputs[0]].quantization.scale = np.float32([1 / 512])
    carried = dataclasses.replace(
        carried, output=dataclasses.replace(carried.output, scale=1 / 512)
    )
    write_tflite(folder / TFLITE, build, carried)
    forge_hashes(folder)


def zero_point_shifted(monkeypatch, folder: Path) -> None:
    """In the contract alone: the file still has the right one."""
    carried = uint8_contract()
    carried = dataclasses.replace(carried, input=dataclasses.replace(carried.input, zero_point=120))
    write_tflite(folder / TFLITE, build_tflite("int8", "int8", "uint8"), carried)
    forge_hashes(folder)


def zeroed_channel(monkeypatch, folder: Path) -> None:
    write_position_onnx(folder, kernel(zeroed=1))
    forge_hashes(folder)


MUTATIONS = {
    bgr: "colour order",
    no_antialias: "resize",
    nearest: "resize",
    crop: "resize",
    whole_photo: "resize",
    one_pixel_off: "resize",
    exif_ignored: "decode",
    grey: "decode",
    unit_range: "normalisation",
    labels_shuffled: "labels",
    wrong_scale: "model",
    zero_point_shifted: "model",
    zeroed_channel: "model",
}


@pytest.mark.parametrize("mutate", MUTATIONS)
def test_every_mutation_is_caught_and_its_step_named(
    mutate, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch, folder)
    findings = [file.finding for file in replay(folder) if file.finding is not None]
    assert {finding.step for finding in findings} == {MUTATIONS[mutate]}


def test_a_missed_step_exits_with_3_and_three_lines(folder: Path, monkeypatch) -> None:
    labels_shuffled(monkeypatch, folder)
    result = in_process("verify", "--contract", folder)
    assert result.returncode == ExitCode.GATE
    error = [line for line in result.stderr.splitlines() if "golden vectors" not in line]
    assert "error: step labels: class 0 is 'green', expected 'red'" in error
    assert str(folder / ONNX) in result.stderr.replace("\n", "")


@pytest.mark.parametrize(
    ("change", "step"),
    [
        (lambda folder: (folder / ONNX).write_bytes(b"x" * 100), "file"),
        (lambda folder: (folder / ONNX).unlink(), "file"),
        (lambda folder: (folder / "labels.txt").write_text("red\nblue\ngreen\n"), "labels"),
        (lambda folder: (folder / "labels.txt").write_bytes(b"red\ngr\xfcn\nblue\n"), "labels"),
    ],
)
def test_a_changed_folder_is_caught(folder: Path, change, step: str) -> None:
    change(folder)
    found = {file.file: file.finding for file in replay(folder)}[ONNX]
    assert found is not None
    assert found.step == step


def test_a_contract_beside_that_differs_from_the_one_inside_is_caught(folder: Path) -> None:
    path = folder / "contract.json"
    data = json.loads(path.read_text())
    data["files"][ONNX]["contract"]["preprocessing"]["mean"] = 0.0
    path.write_text(json.dumps(data))
    found = {file.file: file.finding for file in replay(folder)}
    assert found[ONNX].step == "normalisation"
    assert found[TFLITE] is None


@pytest.mark.parametrize(
    "spoil",
    [
        shutil.rmtree,
        lambda goldens: (goldens / "goldens.json").write_text("[]"),
        lambda goldens: (goldens / "01-photo.jpg").write_bytes(b"\xff\xd8 cut"),
        lambda goldens: (goldens / "01-photo.jpg").unlink(),
        lambda goldens: (goldens / "01-photo.pixels.png").write_bytes(b"x"),
        lambda goldens: Image.new("RGB", (3, 3)).save(goldens / "01-photo.pixels.png"),
    ],
    ids=["missing", "not an object", "image", "no image", "pixels", "size of pixels"],
)
def test_spoilt_goldens_are_an_error_of_the_folder(folder: Path, spoil) -> None:
    spoil(folder / "goldens")
    with pytest.raises(ModelError) as caught:
        replay(folder)
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", 9),
        ("normalised", [0.0]),
        ("images", []),
        ("labels", ["one"]),
        ("files", {"../x.onnx": None}),
        ("size", "8"),
        ("size", 0),
        ("size", 1 << 20),
        ("crop", 0.0),
        ("crop", -5.0),
        ("crop", float("nan")),
        pytest.param("crop", 10**400, id="crop-overflow"),
    ],
)
def test_a_hostile_record_is_refused(folder: Path, key: str, value: object) -> None:
    data = record(folder) | {key: value}
    (folder / "goldens" / "goldens.json").write_text(json.dumps(data))
    with pytest.raises(ModelError):
        replay(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("output", [[1.0], [1.0, 2.0]]),
        ("probabilities", [[1e39] * 3] * 12),
        ("tolerance", float("nan")),
    ],
)
def test_hostile_answers_of_a_file_are_refused(folder: Path, key: str, value: object) -> None:
    data = record(folder)
    data["files"][ONNX][key] = value
    (folder / "goldens" / "goldens.json").write_text(json.dumps(data))
    with pytest.raises(ModelError, match="the golden vectors cannot be used"):
        replay(folder)


def test_an_image_outside_the_folder_is_not_read(folder: Path) -> None:
    data = record(folder)
    data["images"][0]["file"] = "../../secret.jpg"
    (folder / "goldens" / "goldens.json").write_text(json.dumps(data))
    with pytest.raises(ModelError, match="leaves the folder"):
        replay(folder)


# A foreign client, which shows its answers and nothing of what it does.


def answers_of(folder: Path, pixels, model: str = ONNX) -> np.ndarray:
    """What a client answers that gets its pixels by `pixels(image file, size)`."""
    images = [folder / "goldens" / entry["file"] for entry in record(folder)["images"]]
    return open_runner(folder / model).run(np.stack([pixels(path) for path in images]))


def right_pixels(path: Path) -> np.ndarray:
    return preprocess.pixels_of(path.read_bytes(), path.name, FRAME)


def written(folder: Path, scores: np.ndarray, labels=CLASSES, model: str = ONNX) -> Path:
    rows = zip(record(folder)["images"], scores.tolist(), strict=True)
    answers = {entry["file"]: dict(zip(labels, row, strict=True)) for entry, row in rows}
    path = folder / "answers.json"
    path.write_text(json.dumps({"model": model, "answers": answers}))
    return path


@pytest.mark.parametrize("model", [ONNX, TFLITE])
def test_a_right_client_passes(folder: Path, model: str) -> None:
    path = written(folder, answers_of(folder, right_pixels, model), model=model)
    checked = check_client(folder, path)
    assert checked.finding is None
    assert checked.difference < 1e-6


CLIENTS = {
    "BGR": (lambda p: right_pixels(p)[..., ::-1], "colour order", "BGR"),
    "no EXIF": (
        lambda p: preprocess.resize(Image.open(p).convert("RGB"), FRAME),
        "decode",
        "EXIF",
    ),
    "no antialias": (
        lambda p: _without_antialias(preprocess.open_rgb(p.read_bytes(), ""), FRAME),
        "resize",
        "without antialias",
    ),
    "crop": (
        lambda p: _square(preprocess.open_rgb(p.read_bytes(), ""), FRAME),
        "resize",
        "cropped",
    ),
    "no crop": (
        lambda p: preprocess.resize(preprocess.open_rgb(p.read_bytes(), ""), Frame(SIZE)),
        "resize",
        "the whole photo",
    ),
}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_wrong_client_is_told_its_mistake(folder: Path, client: str) -> None:
    pixels, step, words = CLIENTS[client]
    path = written(folder, answers_of(folder, pixels))
    finding = check_client(folder, path).finding
    assert finding is not None
    assert finding.step == step
    assert words in finding.what


def test_a_client_with_another_range_is_told_so(folder: Path) -> None:
    paths = [folder / "goldens" / entry["file"] for entry in record(folder)["images"]]
    images = np.stack([right_pixels(path) for path in paths])
    logits = (images / np.float32(255)).reshape(len(images), -1) @ kernel()
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    path = written(folder, powers / powers.sum(axis=1, keepdims=True))
    finding = check_client(folder, path).finding
    assert finding is not None
    assert (finding.step, "[0, 1]" in finding.what) == ("normalisation", True)


def test_a_client_that_shuffles_labels_is_told_so(folder: Path) -> None:
    scores = answers_of(folder, right_pixels)
    finding = check_client(folder, written(folder, scores, ("blue", "red", "green"))).finding
    assert finding is not None
    assert finding.step == "labels"


def test_a_client_that_forgets_to_dequantize_is_told_so(folder: Path) -> None:
    raw = np.asarray(record(folder)["files"][TFLITE]["output"])
    finding = check_client(folder, written(folder, raw, model=TFLITE)).finding
    assert finding is not None
    assert finding.step == "output"


@pytest.mark.parametrize(
    ("answer", "step"),
    [
        ("{}", "labels"),
        ('{"yellow": 1.0}', "labels"),
        ('{"red": NaN}', "output"),
        ('{"red": 1e39}', "output"),
    ],
)
def test_answers_that_are_none_are_named(folder: Path, answer: str, step: str) -> None:
    path = folder / "answers.json"
    path.write_text(f'{{"model": "{ONNX}", "answers": {{"01-photo.jpg": {answer}}}}}')
    finding = check_client(folder, path).finding
    assert finding is not None
    assert finding.step == step


def test_scores_that_are_no_probabilities_are_not_explained(folder: Path) -> None:
    random = np.random.default_rng(7)
    scores = random.uniform(0, 1e30, (len(record(folder)["images"]), len(CLASSES)))
    finding = check_client(folder, written(folder, scores)).finding
    assert finding is not None
    assert "no known mistake explains it" in finding.what


def test_a_model_with_more_classes_than_the_goldens_is_told_of(folder: Path) -> None:
    path = folder / "contract.json"
    data = json.loads(path.read_text())
    data["files"][ONNX]["contract"]["labels"].append("yellow")
    path.write_text(json.dumps(data))
    finding = check_client(folder, written(folder, answers_of(folder, right_pixels))).finding
    assert finding is not None
    assert finding.what == "class 3 is 'yellow', expected '(none)'"


def test_the_best_class_alone_is_enough(folder: Path) -> None:
    scores = answers_of(folder, right_pixels)
    rows = zip(record(folder)["images"], scores, strict=True)
    answers = {e["file"]: {CLASSES[row.argmax()]: float(row.max())} for e, row in rows}
    path = folder / "answers.json"
    path.write_text(json.dumps({"model": ONNX, "answers": answers}))
    result = in_process("verify", "--contract", folder, "--answers", path)
    assert result.returncode == ExitCode.DONE, result.stderr


def test_a_tolerance_lets_another_resize_pass(folder: Path) -> None:
    path = written(folder, np.clip(answers_of(folder, right_pixels) + 0.03, 0, 1))
    assert check_client(folder, path).finding is not None
    assert check_client(folder, path, 0.05).finding is None


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"model": "other.onnx", "answers": {"01-photo.jpg": {"red": 1.0}}}',
        f'{{"model": "{ONNX}", "answers": {{}}}}',
        f'{{"model": "{ONNX}", "answers": {{"my.jpg": {{"red": 1.0}}}}}}',
    ],
    ids=["empty", "another model", "no answers", "another image"],
)
def test_answers_about_something_else_are_wrong_input(folder: Path, text: str) -> None:
    path = folder / "answers.json"
    path.write_text(text)
    with pytest.raises(InputError):
        check_client(folder, path)


def test_answers_need_a_contract() -> None:
    result = in_process("verify", "--answers", "x.json")
    assert result.returncode == ExitCode.INPUT
    assert "--contract" in result.stderr


@pytest.mark.parametrize(
    "ignored",
    ["--tolerance=0.9", "--recipe=digits", "--data=photos", "--runs=runs", "--set=a=1", "--force"],
)
def test_options_that_a_contract_would_ignore_are_refused(ignored: str, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command("verify")(verify)
    error = CliRunner().invoke(app, ["--contract", str(tmp_path), ignored]).exception
    assert type(error) is InputError, "the folder, which holds nothing, was looked at"
    assert ignored.partition("=")[0] in str(error)


def test_pixels_that_are_a_step_off_are_no_mistake_of_the_crop() -> None:
    """Another decoder's pixels: where the whole photo is right, taking it explains nothing."""
    random = np.random.default_rng(0)
    buffer = io.BytesIO()
    noise = random.integers(0, 255, (40, 30, 3), np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    whole = Frame(SIZE)
    right = preprocess.pixels_of(buffer.getvalue(), "noise", whole)
    assert explain_pixels([buffer.getvalue()], right[None] + np.uint8(1), whole) is None
    mistake = explain_pixels([buffer.getvalue()], right[None], FRAME)
    assert mistake is not None and "the whole photo" in mistake.what
