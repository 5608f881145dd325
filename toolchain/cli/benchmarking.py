"""What `toolchain benchmark` and the chain's stage do: find files, time them, keep results."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import itertools
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from toolchain.cli import published
from toolchain.cli.benchmark_tables import show, show_findings
from toolchain.contract import ExportedModel
from toolchain.errors import DataError, GateError, InputError, MachineError
from toolchain.files import sha256_file
from toolchain.measurement import Benchmark
from toolchain.recipe import Recipe
from toolchain.recipe.sections import BenchmarkSection
from toolchain.run import Run, typed_command
from toolchain.saved import save_value
from toolchain.terminal import say
from toolchain.values import FileVerification

if TYPE_CHECKING:
    from toolchain.benchmark.candidate import Candidate
    from toolchain.benchmark.preparation import Photos

KERAS_WORKER: Final = "toolchain.export.keras_worker"
_PHOTOS: Final = 16
_NAME_CHARACTERS: Final = 80


def measure_run(recipe: Recipe, run: Run, out: Path) -> None:
    """The chain's stage: every exported file, and the Keras model they came from."""
    from toolchain.benchmark.candidate import candidates
    from toolchain.benchmark.harness import benchmark

    exported = published.exported(run)
    with tempfile.TemporaryDirectory() as folder:
        chosen = candidates(exported, recipe.benchmark)
        chosen += _keras(recipe, run, exported, Path(folder))
        result = benchmark(
            chosen,
            recipe.benchmark,
            _verified(run, exported),
            _photos(recipe, run),
            command=typed_command(),
            data_sha256=published.digest(run, "data") or "",
        )
    save_value(result, out / published.BENCHMARK)


def show_run(run: Run) -> None:
    """The tables of the run's results."""
    show(published.timings(run))


def measure_targets(targets: Sequence[Path], recipe: Recipe) -> Benchmark:
    """Time the files of finished runs, and files alone, as the recipe's [benchmark] says.

    Decoding is timed on photos of the first run, or on a made-up one.

    Raises:
      ModelError: a file carries no contract, or is damaged.
    """
    from toolchain.benchmark.candidate import candidates
    from toolchain.benchmark.harness import benchmark

    exported: list[ExportedModel] = []
    verified: dict[str, FileVerification] = {}
    digests: set[str] = set()
    for target in targets:
        found, known, digest = _target(target)
        exported += found
        verified |= known
        digests.add(digest)
    section = recipe.benchmark
    result = benchmark(
        candidates(exported, section),
        section,
        verified,
        _photos(recipe, first_run(targets)),
        command=typed_command(),
        data_sha256=digests.pop() if len(digests) == 1 else "",
    )
    show(result)
    return result


def _target(target: Path) -> tuple[list[ExportedModel], dict[str, FileVerification], str]:
    """What a path means: its files, what is known of them, and on which data that rests."""
    from toolchain.runtimes.carried import read_contract

    if target.is_dir():
        run = open_finished(target)
        exported = published.exported(run)
        return exported, _verified(run, exported), published.digest(run, "data") or ""
    contract = read_contract(target)
    return [ExportedModel(target, sha256_file(target), contract)], {}, ""


def first_run(targets: Sequence[Path]) -> Run | None:
    """The run that the first folder among the targets holds; None where all are files.

    Raises:
      InputError: see `open_finished`.
    """
    folder = next((target for target in targets if target.is_dir()), None)
    return None if folder is None else open_finished(folder)


def open_finished(folder: Path) -> Run:
    """The run in a folder.

    Raises:
      InputError: it holds no exported files.
    """
    run = Run.at(folder)
    if run.manifest("export") is None:
        raise InputError(
            "expected a run's folder with a finished export, or model files",
            str(run.folder),
            "give runs/NAME, or the .tflite and .onnx files themselves",
        )
    return run


def import_log(log: Path, run: Run) -> Benchmark:
    """Read a phone's log and keep it beside the run's own results, if there is such a run.

    Raises:
      InputError: it cannot be read, or is no log of benchmark_model.
    """
    from toolchain.benchmark.phone_log import MAX_CHARACTERS, read_phone_log

    try:
        with log.open(encoding="utf-8", errors="replace") as file:
            text = file.read(MAX_CHARACTERS + 1)
    except OSError as error:
        raise InputError(f"the log cannot be read: {error.strerror}", str(log)) from error
    finished = run.manifest("export") is not None
    exported = {one.path.name: one for one in published.exported(run)} if finished else {}
    result = read_phone_log(text, log.name, exported)
    show(result)
    if finished:
        _keep_phone(run, _kept_as(result, text), result)
        say(f"  kept in {run.stage(published.PHONES)}")
    return result


def _kept_as(result: Benchmark, text: str) -> str:
    """A name for a log that no other one has, in the order of phones and dates."""
    told = f"{result.machine['phone']} {result.date}"
    words = re.findall("[a-z0-9]+", told.lower().replace(":", ""))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return "-".join(["-".join(words)[:_NAME_CHARACTERS], digest[:12]])


def _keep_phone(run: Run, name: str, result: Benchmark) -> None:
    with run.lock():
        kept = published.phones(run) | {f"{name}.json": result}
        key = "".join(sorted(kept))
        with run.publish(
            published.PHONES, key, {"export": published.digest(run, "export") or ""}
        ) as out:
            for file, one in kept.items():
                save_value(one, out / file)


def hold_against(
    result: Benchmark, baseline: Benchmark, path: Path, limits: BenchmarkSection
) -> None:
    """Compare with earlier results, which came from `path`, and say what was found.

    Raises:
      GateError: latency, accuracy or size became worse than the limits allow.
    """
    from toolchain.benchmark.baseline import compare

    findings = compare(result, baseline, limits)
    show_findings(findings, path)
    if worse := [one.text for one in findings if one.verdict == "regression"]:
        raise GateError(
            "; ".join(worse),
            str(path),
            "limits are benchmark.latency_limit, accuracy_limit and size_limit",
        )


def _verified(run: Run, exported: Sequence[ExportedModel]) -> dict[str, FileVerification]:
    """sha256 of a file -> how good it is; nothing where verify saw other files or photos."""
    if not published.belongs(run, "verify"):
        return {}
    files = {file.file: file for file in published.verification(run).files}
    return {one.sha256: files[one.path.name] for one in exported if one.path.name in files}


def _photos(recipe: Recipe, run: Run | None) -> Photos:
    """The first photos of the run's dataset; a made-up one when they are not there any more."""
    from toolchain.benchmark.preparation import Photos, made_up
    from toolchain.columns import Index, Texts
    from toolchain.data.access import read_some
    from toolchain.data.source import open_source

    encoded: tuple[bytes, ...] = ()
    if run and run.manifest("data"):
        # Of the source's photos only those that were decoded before: others may be unreadable.
        names = Index(Texts(published.dataset_facts(run).names)).keys()
        with contextlib.suppress(DataError, MachineError, OSError):
            found = itertools.islice(read_some(open_source(recipe), names), _PHOTOS)
            encoded = tuple(data for _, data in found)
    if not encoded:
        return made_up()
    return Photos(f"the first {len(encoded)} photos of {recipe.name}", encoded)


def _keras(
    recipe: Recipe, run: Run, exported: Sequence[ExportedModel], folder: Path
) -> list[Candidate]:
    """The float model as a row for reference, one for each thread count."""
    from toolchain.benchmark.candidate import Candidate
    from toolchain.export.keras_worker import Reference

    float_files = [one.contract for one in exported if one.contract.precision == "fp32"]
    if "keras" not in recipe.benchmark.runtimes or not float_files:
        return []
    if importlib.util.find_spec("tensorflow") is None:
        say("  no row for the Keras model: TensorFlow is not installed")
        return []
    weights, contract = run.require("train", "weights.safetensors"), float_files[0]
    reference = folder / "reference.json"
    save_value(Reference.of(recipe, run.stage("train"), contract), reference)
    row = Candidate(
        name=f"{recipe.name}.fp32.keras",
        opens=reference,
        path=weights,
        sha256=sha256_file(weights),
        format="keras",
        precision="fp32",
        frame=contract.preprocessing.frame,
        runtime="keras",
        provider="cpu",
        threads=1,
        worker=KERAS_WORKER,
        stays=True,
    )
    return [dataclasses.replace(row, threads=threads) for threads in recipe.benchmark.threads]
