"""`toolchain predict`: the top classes of images, with a .tflite or .onnx file alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from toolchain.contract import Contract

_IMAGES_A_STEP: Final = 16


def predict(
    file: Annotated[Path, typer.Argument(help="A .tflite or .onnx file of an export.")],
    images: Annotated[list[Path], typer.Argument(help="Photos, or folders that hold photos.")],
    top: Annotated[int, typer.Option("--top", min=1, help="Classes to show an image.")] = 5,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on stdout.")
    ] = False,
    threads: Annotated[int, typer.Option("--threads", min=1, max=256, help="Of the CPU.")] = 1,
) -> None:
    """Say what is on photos, with an exported file and without TensorFlow.

    Example: toolchain predict runs/digits/export/digits.int8-qat.tflite photo.jpg
    """
    from toolchain.runtimes import IsolatedRunner

    paths = find_images(images)
    with IsolatedRunner.open(file, threads=threads) as runner:
        answers = _answers(runner, paths, top)
        contract = runner.contract
    if as_json:
        typer.echo(json.dumps(_as_json(file, contract, answers), ensure_ascii=False, indent=1))
    else:
        _show(file, answers)


def find_images(given: list[Path]) -> list[Path]:
    """The images that paths mean: a file is itself, a folder all images under it, sorted.

    Raises:
      ImageError: a path is missing, or a folder holds no image.
    """
    from toolchain.errors import ImageError
    from toolchain.images.decode import SUFFIXES

    found: list[Path] = []
    for path in given:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not inside:
            raise ImageError(
                "expected images in the folder, found none", str(path), "check the path"
            )
        found.extend(inside)
    return found


def _answers(runner: Any, paths: list[Path], top: int) -> list[tuple[Path, list[Any]]]:
    import numpy as np

    from toolchain.images.decode import read_file
    from toolchain.images.preprocess import pixels_of
    from toolchain.terminal import track

    size, answers = runner.contract.preprocessing.size, []
    for start in track(range(0, len(paths), _IMAGES_A_STEP), "predict"):
        step = paths[start : start + _IMAGES_A_STEP]
        pixels = np.stack([pixels_of(read_file(path), str(path), size) for path in step])
        for path, row in zip(step, runner.run(pixels), strict=True):
            answers.append((path, _best(row, runner.contract.labels, top)))
    return answers


def _best(row: NDArray[np.float32], labels: tuple[str, ...], top: int) -> list[tuple[str, float]]:
    order = sorted(range(len(labels)), key=lambda place: -row[place])[:top]
    return [(labels[place], float(row[place])) for place in order]


def _as_json(file: Path, contract: Contract, answers: list[tuple[Path, Any]]) -> dict[str, Any]:
    return {
        "file": str(file),
        "model": contract.name,
        "precision": contract.precision,
        "images": [
            {
                "image": str(path),
                "top": [{"label": label, "probability": round(p, 6)} for label, p in best],
            }
            for path, best in answers
        ],
    }


def _show(file: Path, answers: list[tuple[Path, list[tuple[str, float]]]]) -> None:
    from toolchain.terminal import table

    rows = [
        (path.name if place == 0 else "", label, f"{100 * probability:.1f} %")
        for path, best in answers
        for place, (label, probability) in enumerate(best)
    ]
    table(file.name, ("image", "class", "probability"), rows)
