"""`toolchain bundle`: exported files with the code that an app, a page or a server needs."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolchain.cli.answer import print_json
from toolchain.cli.options import (
    DataOption,
    JsonOption,
    RecipeOption,
    RunsOption,
    SetOption,
    at_home,
)

if TYPE_CHECKING:
    from toolchain.bundle import Bundle, Offer
    from toolchain.run import Manifest, Run


class For(StrEnum):
    """Who takes the bundle along."""

    ANDROID = "android"
    IOS = "ios"
    WEB = "web"
    SERVER = "server"


def bundle(
    kind: Annotated[For, typer.Option("--for", help="Who takes it along.")],
    run_folder: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="A run's folder, instead of a recipe.")
    ] = None,
    recipe: RecipeOption = "",
    data: DataOption = "",
    runs: RunsOption = Path("runs"),
    overrides: SetOption = None,
    precision: Annotated[
        str, typer.Option("--precision", help="Of the model files; else the best for the kind.")
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the bundles, else RUN/bundle.", callback=at_home),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Pack exported files with labels, contract, model card and the code to paste.

    Example: toolchain bundle runs/digits --for web
    """
    from toolchain.bundle import make_bundle
    from toolchain.cli.options import find_recipe, open_run
    from toolchain.errors import InputError
    from toolchain.files import sha256_json
    from toolchain.run import Run
    from toolchain.terminal import working

    if run_folder and (recipe or data):
        raise InputError(
            "expected a run's folder or --recipe or --data, received more than one of them",
            str(run_folder),
            "leave out the others",
        )
    run = Run.at(run_folder) if run_folder else open_run(find_recipe(recipe, data, overrides), runs)
    bundles = Run.at(out or run.folder / "bundle")
    # Before the locks: they make the folders that they lie in, those of a mistyped run too.
    _manifest(run)
    _require_apart(run, bundles)
    with run.lock(), bundles.lock(), working("packing"):
        exported = _manifest(run)
        offer = read_offer(run, exported)
        key = sha256_json([kind.value, precision, exported.digest()])
        with bundles.publish(kind.value, key, {"export": exported.digest()}) as folder:
            made = make_bundle(offer, kind.value, folder, precision)
    _show(made, offer, bundles.stage(kind.value), as_json)


def read_offer(run: Run, exported: Manifest) -> Offer:
    """The files of a run and the evidence that belongs to them; older evidence is left out."""
    from toolchain.bundle import Offer
    from toolchain.cli import published
    from toolchain.contract import CONTRACT_FILE, LABELS_FILE

    models = tuple(published.exported(run))
    own = {CONTRACT_FILE, LABELS_FILE, *(model.path.name for model in models)}
    beside = {name: run.require("export", name) for name in exported.files if name not in own}
    verified = published.verification(run).files if published.belongs(run, "verify") else ()
    return Offer(
        name=models[0].contract.name,
        exported=models,
        beside=beside,
        verified={file.file: file for file in verified},
        benchmark=published.benchmark(run),
        dataset=published.dataset_facts(run) if run.manifest("data") else None,
        notes=published.trained(run).notes if run.manifest("train") else (),
        command=exported.command,
    )


def _manifest(run: Run) -> Manifest:
    from toolchain.errors import InputError

    manifest = run.manifest("export")
    if manifest is None:
        raise InputError("stage export has not run", str(run.folder), "run: make export verify")
    return manifest


def _require_apart(run: Run, bundles: Run) -> None:
    from toolchain.errors import InputError

    if os.path.realpath(bundles.folder) == os.path.realpath(run.folder):
        raise InputError(
            "expected another folder for the bundles than the run's own",
            str(run.folder),
            "give --out another folder, or leave it out for RUN/bundle",
        )


def _show(made: Bundle, offer: Offer, place: Path, as_json: bool) -> None:
    from toolchain.terminal import say

    folder, archive = place / made.folder.name, place / made.archive.name
    for choice in made.choices:
        say(f"  {choice.model.path.name}: {choice.reason}")
        if choice.model.path.name not in offer.verified:
            say("    not verified: run make verify to have its accuracy in the card")
    say(f"  {folder}")
    say(f"  {archive}")
    if as_json:
        files: dict[str, Any] = {
            choice.model.path.name: {"sha256": choice.model.sha256, "reason": choice.reason}
            for choice in made.choices
        }
        answer = {"folder": str(folder), "archive": str(archive), "models": files}
        print_json(answer)
