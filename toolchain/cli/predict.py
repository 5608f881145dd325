"""`toolchain predict`: the top classes of images, with a .tflite or .onnx file alone."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from toolchain.cli.answer import print_json
from toolchain.errors import ImageError, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from toolchain.contract import Contract

_IMAGES_A_STEP: Final = 16
# Label and probability of the best classes.
Best = list[tuple[str, float]]
Answer = Best | ImageError


def predict(
    file: Annotated[Path, typer.Argument(help="A .tflite or .onnx file of an export.")],
    images: Annotated[list[Path], typer.Argument(help="Photos, or folders that hold photos.")],
    top: Annotated[int, typer.Option("--top", min=1, help="Classes to show an image.")] = 5,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on stdout.")
    ] = False,
    threads: Annotated[int, typer.Option("--threads", min=1, max=256, help="Of the CPU.")] = 1,
    submission: Annotated[
        Path | None,
        typer.Option(
            "--submission", help="Write ImageId,Label of each row of a CSV of pixels, for Kaggle."
        ),
    ] = None,
) -> None:
    """Say what is on photos, with an exported file and without TensorFlow.

    Example: toolchain predict runs/digits/export/digits.int8-qat.tflite photo.jpg
    """
    from toolchain.runtimes import IsolatedRunner

    if submission is not None:
        if as_json:
            raise InputError(
                "expected --submission or --json, received both",
                remedy="leave --json out: the submission is a file",
            )
        from toolchain.files import try_writing

        try_writing(submission)
        with IsolatedRunner.open(file, threads=threads) as runner:
            _submit(runner, images, submission)
        return
    paths = find_images(images)
    with IsolatedRunner.open(file, threads=threads) as runner:
        answers = _answers(runner, paths, top)
        contract = runner.contract
    if as_json:
        print_json(_as_json(file, contract, answers), indent=1)
    else:
        _show(file, answers)
    _require_all(answers)


def find_images(given: list[Path]) -> list[Path]:
    """The images that paths mean: a file is itself, a folder all images under it, sorted.

    Of a folder what is hidden is left out, as the data stage does: systems keep shadows of photos
    under names like theirs.

    Raises:
      ImageError: a path is missing, or a folder holds no image.
    """
    from toolchain.data.entries import is_hidden
    from toolchain.images.decode import SUFFIXES

    found: list[Path] = []
    for path in given:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(
            below
            for below in path.rglob("*")
            if below.suffix.lower() in SUFFIXES
            and not is_hidden(below.relative_to(path).as_posix())
            and below.is_file()
        )
        if not inside:
            raise ImageError(
                "expected images in the folder, found none", str(path), "check the path"
            )
        found.extend(inside)
    return found


def _answers(runner: Any, paths: list[Path], top: int) -> list[tuple[Path, Answer]]:
    from toolchain.images.decode import read_file
    from toolchain.images.preprocess import pixels_of
    from toolchain.terminal import track

    frame, bad = runner.contract.preprocessing.frame, dict[Path, ImageError]()

    def photos() -> Iterator[NDArray[np.uint8]]:
        for path in track(paths, "predict"):
            try:
                pixels = pixels_of(read_file(path), str(path), frame)
            except ImageError as error:
                bad[path] = error
            else:
                yield pixels

    good = [_best(row, runner.contract.labels, top) for row in _probabilities(runner, photos())]
    left = iter(good)
    return [(path, bad[path] if path in bad else next(left)) for path in paths]


def _probabilities(
    runner: Any, photos: Iterable[NDArray[np.uint8]]
) -> Iterator[NDArray[np.float32]]:
    """What the file answers for each photo, uint8 [size, size, 3]: [classes]."""
    import numpy as np

    left = iter(photos)
    while step := list(itertools.islice(left, _IMAGES_A_STEP)):
        yield from runner.run(np.stack(step))


def _submit(runner: Any, given: list[Path], path: Path) -> None:
    """Write what the rows of a table are, the rows counted from 1, in the form Kaggle asks for.

    Raises:
      InputError: not one table.
      DataError: see `read_unlabelled`.
    """
    from toolchain.data.sources.base import as_png
    from toolchain.data.sources.digit_csv import read_unlabelled
    from toolchain.files import write_text
    from toolchain.images.preprocess import pixels_of
    from toolchain.terminal import say, track

    if len(given) != 1:
        raise InputError(
            f"expected one CSV of pixels for --submission, received {len(given)} paths",
            remedy="for example: toolchain predict MODEL test.csv --submission submission.csv",
        )
    frame, numbers = runner.contract.preprocessing.frame, list[int]()

    def photos() -> Iterator[NDArray[np.uint8]]:
        for number, pixels in track(read_unlabelled(given[0]), "predict"):
            numbers.append(number)
            yield pixels_of(as_png(pixels), f"{given[0]}, row {number}", frame)

    labels = [
        _best(row, runner.contract.labels, 1)[0][0] for row in _probabilities(runner, photos())
    ]
    text = io.StringIO()
    rows = zip(numbers, labels, strict=True)
    csv.writer(text, lineterminator="\n").writerows([("ImageId", "Label"), *rows])
    write_text(path, text.getvalue())
    say(f"wrote {path}: {len(labels):,} rows")


def _best(row: NDArray[np.float32], labels: tuple[str, ...], top: int) -> Best:
    order = sorted(range(len(labels)), key=lambda place: -row[place])[:top]
    return [(labels[place], float(row[place])) for place in order]


def _as_json(file: Path, contract: Contract, answers: list[tuple[Path, Answer]]) -> dict[str, Any]:
    return {
        "file": str(file),
        "model": contract.name,
        "precision": contract.precision,
        "images": [{"image": str(path), **_plain(answer)} for path, answer in answers],
    }


def _plain(answer: Answer) -> dict[str, Any]:
    if isinstance(answer, ImageError):
        return {"error": answer.what}
    return {"top": [{"label": label, "probability": round(p, 6)} for label, p in answer]}


def _show(file: Path, answers: list[tuple[Path, Answer]]) -> None:
    from toolchain.terminal import table

    table(
        file.name,
        ("image", "class", "probability"),
        [row for path, answer in answers for row in _rows(path, answer)],
    )


def _rows(path: Path, answer: Answer) -> list[tuple[str, str, str]]:
    if isinstance(answer, ImageError):
        return [(path.name, answer.what, "")]
    return [
        (path.name if place == 0 else "", label, f"{100 * probability:.1f} %")
        for place, (label, probability) in enumerate(answer)
    ]


def _require_all(answers: list[tuple[Path, Answer]]) -> None:
    """End with an error when there is a photo without an answer, after the others had theirs.

    Raises:
      ImageError: what was wrong with the first.
    """
    bad = [answer for _, answer in answers if isinstance(answer, ImageError)]
    if bad:
        what = f"{len(bad):,} of {len(answers):,} photos have no answer: {bad[0].what}"
        raise ImageError(what, bad[0].where, bad[0].remedy)
