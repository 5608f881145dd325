"""Makes the goldens of a folder of exported files, by running every one of them."""

from __future__ import annotations

import io
import platform
from pathlib import Path
from typing import Final

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from toolchain import __version__
from toolchain.contract import ContractEntry, read_contract_file
from toolchain.files import sha256_file, write_bytes
from toolchain.goldens.pictures import PICTURES, Picture
from toolchain.goldens.record import (
    FILE,
    FOLDER,
    SCHEMA,
    GoldenAnswers,
    GoldenImage,
    Goldens,
    plain,
)
from toolchain.images.preprocess import Frame, normalise, pixels_of
from toolchain.runtimes import IsolatedRunner
from toolchain.runtimes.base import to_input, to_probabilities
from toolchain.saved import save_value

# Drawn versions of each picture, of which the one the model is least sure of is kept.
CANDIDATES: Final = 4
# Largest difference of a probability that a sound runtime may show. What `benchmarks/goldens.py`
# found on 2026-11-27, AMD EPYC (AVX2), ai-edge-litert 2.3.0 and onnxruntime 1.31.1, digits' golden
# pictures, over threads and batches of the usual kernels, and over all kernels and fusions:
#
#          usual   any      the rest of the room
#   fp32   0       3.3e-6   GPUs, whose float32 sums keep ten bits; not measured
#   fp16   0       7.4e-6   runtimes that compute in float16; not measured
#   w8     0       0.042
#   int8   0       0.15     onnxruntime in a browser against a server: 0.06
#
# Above w8's and int8's tolerance are LiteRT without XNNPACK and onnxruntime without fusions, which
# round sums otherwise. Room for them would hide mistakes: without antialias, cats and dogs in int8
# move by 0.17.
TOLERANCE: Final = {"fp32": 1e-3, "fp16": 1e-2, "w8": 3e-2, "int8-ptq": 6e-2, "int8-qat": 6e-2}


def write_goldens(folder: Path) -> Goldens:
    """Write `folder`/goldens/ for the files that `folder`/contract.json names.

    Returns:
      What was written to goldens.json.
    """
    entries = read_contract_file(folder)
    first, contract = next((name, entry.contract) for name, entry in entries.items())
    frame = contract.preprocessing.frame
    with IsolatedRunner.open(folder / first) as runner:
        chosen = [
            _least_sure(picture, place, frame, runner) for place, picture in enumerate(PICTURES)
        ]
    pixels = np.stack([pixels_of(data, picture.file, frame) for picture, data in chosen])
    (folder / FOLDER).mkdir()
    goldens = Goldens(
        schema=SCHEMA,
        made_with={"toolchain": __version__, "pillow": PIL.__version__},
        size=frame.size,
        crop=frame.crop,
        normalised=plain(normalise(np.arange(256, dtype=np.uint8), contract.preprocessing)),
        labels=contract.labels,
        images=tuple(
            _write_image(folder / FOLDER, picture, data, tensor)
            for (picture, data), tensor in zip(chosen, pixels, strict=True)
        ),
        files={name: _answers(folder / name, entry, pixels) for name, entry in entries.items()},
    )
    save_value(goldens, folder / FOLDER / FILE)
    return goldens


def _least_sure(
    picture: Picture, place: int, frame: Frame, runner: IsolatedRunner
) -> tuple[Picture, bytes]:
    """The version whose probabilities are the most even: it shows small differences best."""
    side = frame.whole()
    drawn = [picture.draw(np.random.default_rng((place, seed)), side) for seed in range(CANDIDATES)]
    found = runner.run(np.stack([pixels_of(data, picture.file, frame) for data in drawn]))
    return picture, drawn[int(np.argmin(found.max(axis=1)))]


def _write_image(
    folder: Path, picture: Picture, data: bytes, tensor: NDArray[np.uint8]
) -> GoldenImage:
    path = folder / picture.file
    write_bytes(path, data)
    pixels, buffer = f"{path.stem}.pixels.png", io.BytesIO()
    Image.fromarray(tensor).save(buffer, "PNG")
    write_bytes(folder / pixels, buffer.getvalue())
    return GoldenImage(path.name, sha256_file(path), pixels, picture.shows)


def _answers(path: Path, entry: ContractEntry, pixels: NDArray[np.uint8]) -> GoldenAnswers:
    tensor = to_input(pixels, entry.contract)
    with IsolatedRunner.open(path) as runner:
        raw = np.concatenate([runner.run_tensor(row[None]) for row in tensor])
        runtime = f"{runner.runtime} on {platform.machine()}"
    return GoldenAnswers(
        sha256=entry.sha256,
        runtime=runtime,
        tolerance=TOLERANCE[entry.contract.precision],
        output=tuple(plain(row) for row in raw),
        probabilities=tuple(plain(row) for row in to_probabilities(raw, entry.contract, str(path))),
    )
