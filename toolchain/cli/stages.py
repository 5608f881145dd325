"""What each stage command does: read the values it needs, call the one stage, show the result.

Every function imports its stage when it is called, so that `toolchain --help` loads none of them.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from toolchain.cli import published
from toolchain.errors import GateError, MachineError
from toolchain.evidence import Answers, ClientResize, FileAnswers
from toolchain.files import write_text
from toolchain.recipe import Recipe
from toolchain.recipe.write import RECIPE_FILE, recipe_toml
from toolchain.run import Run, typed_command
from toolchain.saved import save_value
from toolchain.terminal import native_log, say, table, working
from toolchain.unfinished import Unfinished
from toolchain.values import EpochRecord, FileVerification, Verification

if TYPE_CHECKING:
    from toolchain.report import RunValues
    from toolchain.verification import Photos
    from toolchain.verification.ask import Asked

# What the extra `train` installs, by the names that are imported.
_TRAIN_EXTRA: Final = frozenset(
    {"tensorflow", "tf_keras", "tensorflow_model_optimization", "h5py", "sklearn"}
)
# Weights by the name that the report gives them: the stage and the file that hold them.
_WEIGHTS: Final = (
    ("trained", "train", "weights.safetensors"),
    ("calibrated", "quantize", "calibrated.safetensors"),
    ("quantized", "quantize", "weights.safetensors"),
)
_SHOWN_LAYERS: Final = 5


_START_ALL: Final = "start all workers again; each goes on from the last epoch"
# TensorFlow's errors that are the machine's, and what to do; named, because naming loads nothing.
_OF_THE_MACHINE: Final = {
    "ResourceExhaustedError": (
        "out of memory",
        "give smaller batches: --set train.batch_size=8; what was finished is kept",
    ),
    "UnavailableError": ("another worker is gone", _START_ALL),
    "AbortedError": ("another worker is gone", _START_ALL),
}


@contextlib.contextmanager
def tensorflow(run: Run, stage: str) -> Iterator[None]:
    """Native noise into the stage's log; a missing extra becomes an error that names it."""
    with native_log(run.log(stage)):
        try:
            with working("starting TensorFlow"):
                import toolchain.training.device  # noqa: F401 - loads TensorFlow, takes seconds
            yield
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in _TRAIN_EXTRA:
                raise
            raise MachineError(
                f"stage {stage} needs {error.name}, which is not installed",
                remedy="pip install 'toolchain[train]', or make install in a checkout",
            ) from error
        except Exception as error:
            for kind in type(error).__mro__:
                if kind.__module__.startswith("tensorflow.") and kind.__name__ in _OF_THE_MACHINE:
                    what, remedy = _OF_THE_MACHINE[kind.__name__]
                    raise MachineError(f"{what} in stage {stage}", remedy=remedy) from error
            raise


def data(recipe: Recipe, run: Run, out: Path) -> None:
    """Decode and split the photos; those decoded for another recipe are taken from the cache."""
    from toolchain.data.stage import build_dataset

    build_dataset(recipe, out, run.shared("pixels"))


def show_data(run: Run) -> None:
    """Photos a class and split."""
    dataset = published.dataset_facts(run)
    counts = Counter(zip(dataset.labels, dataset.splits, strict=True))
    rows = [
        (name, *(f"{counts[label, split]:,}" for split in ("train", "validation", "test")))
        for label, name in enumerate(dataset.classes)
    ]
    if len(rows) <= 12:
        table("photos", ("class", "train", "validation", "test"), rows)


def preview(recipe: Recipe, run: Run, path: Path, count: int) -> None:
    """Draw photos beside their augmented versions into a PNG."""
    with tensorflow(run, "preview"):
        from toolchain.training.preview import preview_grid

        preview_grid(published.dataset(recipe, run), recipe, path, count)


def train(recipe: Recipe, run: Run, out: Path, kept: Unfinished) -> None:
    """Train the float model."""
    with tensorflow(run, "train"):
        from toolchain.training.stage import train_model

        train_model(published.dataset(recipe, run), recipe, out, kept)


def show_train(run: Run) -> None:
    """Accuracy of the best epoch and what was done."""
    model = published.trained(run)
    _show_epoch(model.history[model.best], f"{model.parameters:,} weights")
    for note in model.notes:
        say(f"  {note}")


def _show_epoch(record: EpochRecord, extra: str) -> None:
    columns = ("phase", "epoch", "train", "validation", "")
    row = (
        record.phase,
        str(record.epoch),
        f"{record.accuracy:.2%}",
        f"{record.validation_accuracy:.2%}",
        extra,
    )
    table("best epoch", columns, [row])


def quantize(recipe: Recipe, run: Run, out: Path, kept: Unfinished) -> None:
    """Calibrate and train with simulated quantization."""
    with tensorflow(run, "quantize"):
        from toolchain.quantization.stage import quantize_model

        quantize_model(published.trained(run), published.dataset(recipe, run), recipe, out, kept)


def trains_int8(recipe: Recipe) -> str:
    """Other files asked for, such as fp16, are no reason to train again; int8-qat is one.

    So are the gates that decide what falls back to float, and bytes out of the last layer.
    """
    asked = recipe.int8_precisions()
    facts = ["int8-qat"] if "int8-qat" in asked else []
    if recipe.quantize.fallback:
        facts += [f"{one} may lose {recipe.verify.points_lost(one)}" for one in asked]
        facts += [recipe.export.int8_io, *recipe.export.formats]
    return ", ".join(facts)


def show_quantize(run: Run) -> None:
    """Accuracy of the calibrated start and of the best epoch; the layers that rounding hurts."""
    model = published.quantization(run)
    best = model.history[model.best]
    _show_epoch(best, f"calibrated start {model.history[0].validation_accuracy:.2%}")
    for note in model.notes:
        say(f"  {note}")
    if found := published.sensitivity(run):
        rows = [
            (one.layer, one.op, f"{one.sqnr_db:.1f}", f"{one.kernel_db:.1f}")
            for one in found.worst()[:_SHOWN_LAYERS]
        ]
        title = f"signal above rounding noise, worst {len(rows)} of {len(found.layers)} layers"
        table(title, ("layer", "op", "dB", "kernel alone, dB"), rows)


def export(recipe: Recipe, run: Run, out: Path) -> None:
    """Write the files that run elsewhere, and the vectors that show whether they do."""
    from toolchain.goldens import write_goldens

    with tensorflow(run, "export"):
        from toolchain.export.stage import export_models

        lineage = {"data_sha256": published.digest(run, "data") or ""}
        export_models(
            published.trained(run),
            published.quantized(recipe, run),
            published.dataset_facts(run),
            recipe,
            lineage,
            out,
            published.onnx_form(recipe, run),
        )
    with working("making golden vectors"):
        write_goldens(out)
    write_text(out / RECIPE_FILE, recipe_toml(recipe))


def show_export(run: Run) -> None:
    """Files, sizes and types."""
    rows = [
        (
            model.path.name,
            f"{model.path.stat().st_size / 2**20:.2f}",
            model.contract.input.dtype,
            model.contract.output.dtype,
        )
        for model in published.exported(run)
    ]
    table("exported", ("file", "MiB", "input", "output"), rows)
    say(f"  in {run.stage('export')}")


def verify(recipe: Recipe, run: Run, out: Path) -> None:
    """Compare every exported file with the network it came from, on the test split.

    Raises:
      GateError: a gate was missed; nothing is published.
    """
    from toolchain.data.limit import drawn_rows
    from toolchain.verification import Photos, ask
    from toolchain.verification import verify as compare
    from toolchain.verification.metrics import telling

    dataset = published.dataset(recipe, run)
    rows = drawn_rows(dataset, "test", recipe.verify.images or None, recipe.train.seed)
    labels = dataset.label_array()[rows]
    with tensorflow(run, "verify"):
        from toolchain.export.reference import explain, reference_probabilities

        trained, quantized = published.trained(run), published.quantized(recipe, run)
        references = reference_probabilities(trained, quantized, dataset, rows, recipe)
        chosen = telling(references["fp32"], labels)
        heatmaps = explain(trained, dataset, rows[chosen], references["fp32"][chosen], recipe)
    asked = ask(published.exported(run), dataset.pixels().view(rows))
    photos = Photos(rows, tuple(dataset.names[row] for row in rows), labels)
    result = compare(asked, references, photos, dataset.classes, recipe.verify)
    _table_of(result)
    if not result.passed:
        missed = [f"{file.file}: {text}" for file in result.files for text in file.failures]
        raise GateError(
            "; ".join(missed),
            str(run.stage("export")),
            "train longer or calibrate on more photos; gates are in the recipe's [verify]",
        )
    save_value(result, out / published.VERIFICATION)
    answers = {one.model.path.name: FileAnswers.of(one.probabilities, labels) for one in asked}
    Answers(rows, labels, answers).save(out)
    heatmaps.save(out)
    if (effect := _client_resize(recipe, asked, photos)) is not None:
        effect.save(out)


def _client_resize(recipe: Recipe, asked: Sequence[Asked], photos: Photos) -> ClientResize | None:
    """What MediaPipe's own resize would change, on a draw of the test photos as they came."""
    from toolchain.data.access import read_some
    from toolchain.data.limit import drawn
    from toolchain.data.source import open_source
    from toolchain.verification.client_resize import PHOTOS, client_resize

    def read() -> Iterator[tuple[int, bytes]]:
        chosen = drawn(photos.labels, PHOTOS, recipe.train.seed).tolist()
        places = {photos.names[place]: place for place in chosen}
        for name, data in read_some(open_source(recipe), places.keys()):
            yield places[name], data

    return client_resize(asked, read(), photos.labels)


def show_verify(run: Run) -> None:
    """Says that all gates hold; the table was printed while verifying."""
    result = published.verification(run)
    say(f"  verified: {len(result.files)} files hold every gate")


def _table_of(result: Verification) -> None:
    rows = [
        (
            file.file,
            f"{file.images:,}",
            f"{100 * file.accuracy.value:.2f}",
            f"{100 * file.accuracy.low:.1f} to {100 * file.accuracy.high:.1f}",
            _against_float(file),
            f"{100 * file.reference_accuracy:.2f}",
            f"{100 * file.agreement:.2f}",
            f"{file.max_difference:.1e}",
            "missed" if file.failures else "ok",
        )
        for file in result.files
    ]
    columns = ("file", "photos", "top-1 %", "95 %", "points to float", "network %", "agree %")
    table("verification on the test split", (*columns, "difference", "gates"), rows)


def _against_float(file: FileVerification) -> str:
    """Points of accuracy gained on the float file, with the interval that chance leaves."""
    if file.paired is None:
        return ""
    sure = file.paired.difference
    return f"{100 * sure.value:+.2f} ({100 * sure.low:+.1f} to {100 * sure.high:+.1f})"


def report(recipe: Recipe, run: Run, out: Path) -> None:
    """Write report.html, report.md and report.json."""
    from toolchain.report import make_pictures, make_report
    from toolchain.report.write import write_report

    values = run_values(recipe, run, typed_command())
    made = make_report(values)
    rows = made.gallery.rows() if made.gallery else []
    pictures = make_pictures(rows, values.heatmaps, values.dataset.pixels())
    write_report(made, pictures, out)


def run_values(recipe: Recipe, run: Run, command: str) -> RunValues:
    """What a report of the run is made of; nothing is computed."""
    from toolchain.report import RunValues
    from toolchain.report.lineage import lineage
    from toolchain.training.pretrained import weights_fingerprint

    hashes = {"backbone": weights_fingerprint(recipe)}
    for name, stage, file in _WEIGHTS:
        manifest = run.manifest(stage)
        if manifest is not None and file in manifest.files:
            hashes[name] = manifest.files[file].sha256
    return RunValues(
        recipe=recipe,
        dataset=published.dataset(recipe, run),
        trained=published.trained(run),
        quantized=published.quantized(recipe, run),
        verification=published.verification(run),
        benchmark=published.benchmark(run),
        answers=published.answers(run),
        heatmaps=published.heatmaps(run),
        sensitivity=published.sensitivity(run),
        client_resize=published.client_resize(run),
        phones=tuple(published.phones(run).values()),
        lineage=lineage(published.exported(run), {k: v for k, v in hashes.items() if len(v) == 64}),
        command=command,
    )


def show_report(run: Run) -> None:
    """Where to look."""
    say(f"  open {run.stage('report') / 'report.html'}")
