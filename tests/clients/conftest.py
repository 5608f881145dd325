"""What clients of exported files are tried on: a finished run of the tiny network, and photos.

The run is written down, not trained, so that these tests take seconds and no TensorFlow.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import socket
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tiny_network
from command_line import toolchain
from numpy.typing import NDArray
from PIL import Image
from tiny_onnx import write_float_onnx, write_int8_onnx
from tiny_tflite import Builder, build_tflite, uint8_contract

from toolchain.contract import METADATA_KEY, Contract, ContractEntry, write_contract_file
from toolchain.errors import ExitCode
from toolchain.export.flatbuffer import embed
from toolchain.export.task_metadata import BUFFER, append_labels, task_metadata
from toolchain.files import sha256_file
from toolchain.goldens import write_goldens
from toolchain.images.preprocess import Frame, pixels_of
from toolchain.measurement import Benchmark, Latency, Measurement
from toolchain.recipe import parse_recipe
from toolchain.recipe.write import RECIPE_FILE, recipe_toml
from toolchain.run import Run
from toolchain.runtimes import IsolatedRunner
from toolchain.runtimes.carried import read_contract
from toolchain.saved import save_value
from toolchain.values import (
    Dataset,
    FileVerification,
    Interval,
    TrainedModel,
    Verification,
)

EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Unpacked:
    """A bundle as its receiver has it: unpacked from the zip in an otherwise empty folder."""

    folder: Path
    answer: dict[str, object]


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run folder with export, verify and benchmark, of the network that tells colours."""
    run = Run(tmp_path_factory.mktemp("runs"), "tiny")
    with run.publish("export", "e") as folder:
        _export(folder)
    made_from = {"export": run.manifest("export").digest()}
    paths = sorted(run.stage("export").glob("tiny.*"))
    with run.publish("verify", "v", made_from) as folder:
        save_value(_verification([path.name for path in paths]), folder / "verification.json")
    with run.publish("benchmark", "b", made_from) as folder:
        save_value(_benchmark(paths), folder / "benchmark.json")
    with run.publish("data", "d") as folder:
        _dataset(folder).save()
    with run.publish("train", "t") as folder:
        notes = ("backbone from mobilenet_v2_0.35_48.safetensors, sha256 " + "0" * 64,)
        TrainedModel(folder, tiny_network.CLASSES, (), 0, 31, notes).save()
    return run


def _export(folder: Path) -> None:
    write_float_onnx(folder)
    write_int8_onnx(folder)
    _write_tflite(folder / "tiny.fp32.tflite", build_tflite(), tiny_network.contract("tflite"))
    build = build_tflite("int8", "int8", io="uint8")
    _write_tflite(folder / "tiny.int8-qat.tflite", build, uint8_contract())
    entries = {}
    for path in sorted(folder.glob("tiny.*")):
        data = path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        entries[path.name] = ContractEntry(sha256, len(data), read_contract(path))
    (folder / "contract.json").write_text(write_contract_file(entries))
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in tiny_network.CLASSES))
    write_goldens(folder)
    recipe = parse_recipe({"data": {"source": "digits"}}, name="tiny")
    (folder / RECIPE_FILE).write_text(recipe_toml(recipe))


def _write_tflite(path: Path, build: Builder, contract: Contract) -> None:
    """A file with its contract and the metadata of MediaPipe Tasks, as the export writes it."""
    buffers = {METADATA_KEY: contract.dumps().encode(), BUFFER: task_metadata(contract)}
    path.write_bytes(append_labels(embed(build.pack(None), buffers), contract))


def _kind(name: str) -> dict[str, str]:
    _, precision, suffix = name.split(".")
    runtime = "onnxruntime" if suffix == "onnx" else "litert"
    return {"file": name, "format": suffix, "precision": precision, "runtime": runtime}


def _verification(names: list[str]) -> Verification:
    files = tuple(
        FileVerification(
            **_kind(name),
            images=400,
            agreement=0.995,
            max_difference=0.01,
            accuracy=Interval(0.975, 0.9548, 0.9863),
            reference_accuracy=0.98,
            confusion=((130, 3, 0), (2, 131, 1), (0, 4, 129)),
            failures=(),
        )
        for name in names
    )
    return Verification(tiny_network.CLASSES, files, passed=True)


def _benchmark(paths: list[Path]) -> Benchmark:
    latency = Latency(
        runs=200,
        rounds=10,
        p50_ms=Interval(0.25, 0.24, 0.26),
        p90_ms=Interval(0.5, 0.49, 0.51),
        p99_ms=Interval(0.75, 0.74, 0.76),
        throughput=Interval(4000.0, 3900.0, 4100.0),
    )
    rows = tuple(
        Measurement(
            **_kind(path.name),
            sha256=sha256_file(path),
            provider="cpu",
            threads=1,
            batch=1,
            bytes=path.stat().st_size,
            zipped_bytes=1234,
            latency=latency,
        )
        for path in paths
    )
    return Benchmark({"processor": "A processor"}, "2026-01-01T00:00:00+00:00", "toolchain", rows)


def _dataset(folder: Path) -> Dataset:
    count = 30
    return Dataset(
        folder=folder,
        classes=tiny_network.CLASSES,
        size=tiny_network.SIZE,
        names=tuple(f"{at}.png" for at in range(count)),
        labels=tuple(at % 3 for at in range(count)),
        splits=("train",) * 15 + ("validation",) * 6 + ("test",) * 9,
        sha256=("0" * 64,) * count,
    )


@pytest.fixture(scope="session")
def unpacked(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Unpacked]:
    """Makes the bundle of a kind through the command line, once, and unpacks its zip."""
    made: dict[str, Unpacked] = {}

    def make(kind: str) -> Unpacked:
        if kind not in made:
            done = toolchain("bundle", tiny_run.folder, "--for", kind, "--json")
            if done.returncode == ExitCode.MACHINE:
                pytest.skip(done.stderr.splitlines()[0])
            assert done.returncode == 0, done.stderr
            answer = json.loads(done.stdout)
            folder = tmp_path_factory.mktemp(kind)
            unzip(Path(answer["archive"]), folder)
            made[kind] = Unpacked(folder / f"tiny-{kind}", answer)
        return made[kind]

    return make


def unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures in every format and mode that has a rule of its own."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(3)
    for at in range(45):
        _tinted(random, at % 3).save(folder / f"photo-{at:02}.jpg", quality=92)
    turned = Image.Exif()
    turned[EXIF_ORIENTATION] = 6
    _tinted(random, 0).save(folder / "turned.jpg", exif=turned)
    _tinted(random, 1).convert("L").save(folder / "grey.png")
    grey = random.integers(0, 65536, (40, 30), dtype=np.uint16)
    Image.fromarray(grey).save(folder / "grey-16-bit.png")
    _tinted(random, 2).convert("P").save(folder / "palette.gif")
    clear = _tinted(random, 2).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    clear.save(folder / "clear.png")
    below = folder / "below"
    below.mkdir()
    _tinted(random, 1).save(below / "photo.webp", lossless=True)
    (folder / "notes.txt").write_text("no photo")
    return folder


def _tinted(random: np.random.Generator, channel: int) -> Image.Image:
    """Noise with a hint of one colour, larger than the network's input and not square."""
    pixels = random.integers(40, 150, (60, 90, 3))
    pixels[:, :, channel] += int(random.integers(5, 100))
    return Image.fromarray(pixels.astype(np.uint8))


@dataclass(frozen=True)
class Answers:
    """What our own runner says: names and probabilities, float32 [n, classes]."""

    paths: tuple[Path, ...]
    probabilities: NDArray[np.float32]


def our_answers(model: Path, photos: Path) -> Answers:
    """What `toolchain predict` computes for the photos of a folder."""
    with IsolatedRunner.open(model) as runner:
        paths, pixels = _decoded(photos, runner.contract.preprocessing.frame)
        return Answers(paths, runner.run(pixels))


@functools.lru_cache(maxsize=2)
def _decoded(photos: Path, frame: Frame) -> tuple[tuple[Path, ...], NDArray[np.uint8]]:
    """The photos of a folder, which stay what they are, in order, and their pixels."""
    from toolchain.cli.predict import find_images

    paths = tuple(find_images([photos]))
    return paths, np.stack([pixels_of(path.read_bytes(), path.name, frame) for path in paths])


def bare_environment(folder: Path, *packages: str) -> dict[str, str]:
    """An environment whose Python finds the standard library and these packages, nothing else.

    `packages` are names of folders and modules in site-packages; they are linked, not copied.
    Start Python with -S, so that it does not add its own site-packages.
    """
    folder.mkdir(exist_ok=True)
    for package in packages:
        source = Path(np.__file__).parent.parent / package
        if source.exists():
            (folder / package).symlink_to(source)
    keep = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    return keep | {"PYTHONPATH": str(folder)}


def free_port() -> int:
    """One on which nothing of this machine listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def copy_of(unpacked: Unpacked, folder: Path) -> Path:
    """The bundle once more, for a test that changes something in it."""
    shutil.copytree(unpacked.folder, folder)
    return folder
