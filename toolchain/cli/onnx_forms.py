"""`toolchain quantize --tune-onnx`: every form of the int8 .onnx file, asked and timed here."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from toolchain import __version__
from toolchain.cli import published
from toolchain.cli.stages import tensorflow
from toolchain.contract import ExportedModel
from toolchain.errors import GateError, InputError, ModelError
from toolchain.files import sha256_file
from toolchain.recipe import Recipe
from toolchain.recipe.sections import ONNX_FORMS
from toolchain.run import Run, typed_command
from toolchain.saved import save_value
from toolchain.terminal import say, table, working
from toolchain.tuning.forms import STANDARD, FormSearch, FormTrial, choose_form
from toolchain.values import FileVerification, Interval

if TYPE_CHECKING:
    from toolchain.measurement import Benchmark
    from toolchain.verification.ask import Asked

FLOAT: Final = "fp32"
_FLOAT_ROW, _STANDARD_ROW = 0, 1


def search(recipe: Recipe, run: Run, out: Path) -> None:
    """Write every form of the recipe's int8 file, try them, and keep which is to be written.

    The recipe asks for an int8 file, see `chain.needed`; of two, the trained one is tried.
    Accuracy is measured on the validation split; the test split stays closed.

    Raises:
      InputError: there is no validation split.
      GateError: no form holds the gates.
    """
    precision = max(recipe.int8_precisions())
    with tempfile.TemporaryDirectory() as folder:
        with tensorflow(run, "onnx-forms"):
            files = _write(recipe, run, precision, Path(folder))
            verified = _verify(recipe, run, files)
        timed = _time(recipe, {form: files[form] for form in verified})
    trials = tuple(_trial(form, verified[form], timed) for form in ONNX_FORMS if form in verified)
    chosen, reason = choose_form(trials)
    found = FormSearch(
        date=timed.date,
        command=timed.command,
        toolchain=__version__,
        machine=timed.machine,
        precision=precision,
        images=verified[FLOAT].images,
        trials=trials,
        chosen=chosen or "",
        reason=reason,
    )
    _show(found)
    if not found.chosen:
        missed = [f"{one.form}: {text}" for one in found.trials for text in one.failures]
        raise GateError("; ".join(missed), str(run.folder), "gates are in the recipe's [verify]")
    save_value(found, out / published.ONNX_FORMS)


def show(run: Run) -> None:
    """What was kept, and who reads it."""
    found = published.onnx_forms(run)
    say(f"  export writes {found.chosen} while export.onnx_form is auto")


def _write(recipe: Recipe, run: Run, precision: str, folder: Path) -> dict[str, ExportedModel]:
    """Form -> its file; "fp32" -> the float file that speed and accuracy are told against."""
    from toolchain.export.onnx_forms import rewritten
    from toolchain.export.stage import export_models

    export = dataclasses.replace(
        recipe.export, formats=("onnx",), precisions=(FLOAT, precision), onnx_static=False
    )
    made = export_models(
        published.trained(run),
        published.quantization(run),
        published.dataset_facts(run),
        dataclasses.replace(recipe, export=export),
        {},
        folder,
    )
    (float_name, plain), (name, entry) = made.items()
    written, found = (folder / name).read_bytes(), {}
    for form in ONNX_FORMS:
        path = folder / f"{form}.{precision}.onnx"
        with working(f"writing {form}"):
            path.write_bytes(rewritten(written, form))
        found[form] = ExportedModel(path, sha256_file(path), entry.contract)
    return {FLOAT: ExportedModel(folder / float_name, plain.sha256, plain.contract), **found}


def _verify(
    recipe: Recipe, run: Run, files: Mapping[str, ExportedModel]
) -> dict[str, FileVerification]:
    """What the chain's own verify finds, on the validation split, of the forms that run here."""
    from toolchain.export.reference import reference_probabilities
    from toolchain.verification import Photos, ask, verify

    dataset = published.dataset(recipe, run)
    rows = dataset.indices("validation")
    if not len(rows):
        raise InputError("expected a validation split, found none", "data.validation")
    photos = Photos(rows, tuple(dataset.names[row] for row in rows), dataset.label_array()[rows])
    references = reference_probabilities(
        published.trained(run), published.quantization(run), dataset, rows, recipe
    )
    asked: dict[str, Asked] = {}
    for form, model in files.items():
        try:
            asked.update(zip([form], ask([model], dataset.pixels().view(rows)), strict=True))
        except ModelError as error:
            if form in (FLOAT, STANDARD):
                raise
            say(f"  {form} is left out: {error.what}")
    found = verify(tuple(asked.values()), references, photos, dataset.classes, recipe.verify)
    return dict(zip(asked, found.files, strict=True))


def _time(recipe: Recipe, files: Mapping[str, ExportedModel]) -> Benchmark:
    """All of them in turns, one photo at a time on the recipe's first number of threads."""
    from toolchain.benchmark.candidate import candidates
    from toolchain.benchmark.harness import benchmark
    from toolchain.benchmark.preparation import made_up

    section = dataclasses.replace(
        recipe.benchmark,
        runtimes=("onnxruntime",),
        providers=("cpu",),
        threads=recipe.benchmark.threads[:1],
        batches=(1,),
    )
    chosen = candidates(list(files.values()), section)
    return benchmark(chosen, section, {}, made_up(), command=typed_command())


def _trial(form: str, verified: FileVerification, timed: Benchmark) -> FormTrial:
    rows = {row.file: place for place, row in enumerate(timed.measurements)}
    place = rows[verified.file]
    row = timed.measurements[place]
    # The float file is the first row, the standard form the second.
    against = {one.other: one for one in timed.comparisons if one.row == place}
    standard = against.get(_STANDARD_ROW)
    return FormTrial(
        form=form,
        bytes=row.bytes,
        accuracy=verified.accuracy,
        agreement=verified.agreement,
        failures=(*verified.failures, *((row.failure,) if row.failure else ())),
        p50_ms=row.latency.p50_ms if row.latency else None,
        of_float=against[_FLOAT_ROW].ratio if _FLOAT_ROW in against else None,
        of_standard=standard.ratio if standard else None,
        verdict=standard.verdict if standard else "",
    )


def _show(found: FormSearch) -> None:
    rows = [
        (
            one.form,
            f"{one.bytes / 1e6:.2f}",
            f"{one.accuracy.value:.2%}",
            f"{one.agreement:.2%}",
            "" if one.p50_ms is None else f"{one.p50_ms.value:.3g}",
            "" if one.of_float is None else f"{one.of_float.value:.2f}",
            "" if one.of_standard is None else _ratio(one.of_standard),
            "left out" if one.failures else one.verdict,
        )
        for one in found.trials
    ]
    columns = ("form", "MB", "top-1", "as trained", "p50 ms", "of fp32", "of the first", "")
    table(f"forms of the {found.precision} .onnx, {found.images} validation photos", columns, rows)
    for one in found.trials:
        for text in one.failures:
            say(f"  {one.form}: {text}")
    if found.chosen:
        say(f"  kept: {found.chosen}. {found.reason}")


def _ratio(share: Interval) -> str:
    return f"{share.value:.2f} ({share.low:.2f} to {share.high:.2f})"
