"""Offer -> a folder and a zip that a developer of one kind takes along."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from toolchain.bundle.archive import write_zip
from toolchain.bundle.card import render_card
from toolchain.bundle.kinds import KINDS, choose
from toolchain.bundle.offer import Bundle, Choice, Offer
from toolchain.bundle.paste import paste
from toolchain.bundle.web_runtimes import vendor_web_runtimes
from toolchain.contract import (
    CONTRACT_FILE,
    LABELS_FILE,
    ContractEntry,
    labels_text,
    write_contract_file,
)
from toolchain.files import write_text, writing

CARD_FILE: Final = "README.md"


def make_bundle(offer: Offer, kind_name: str, out: Path, precision: str = "") -> Bundle:
    """Fill the empty folder `out` with `<recipe>-<kind>/` and `<recipe>-<kind>.zip`.

    Args:
      offer: files and evidence of a run.
      kind_name: a key of `KINDS`.
      out: where to write.
      precision: of the model files; empty leaves it to the kind.

    Raises:
      InputError: the run has no file that the kind can use.
      MachineError: npm or its registry is needed and not there, or the disk is full.
    """
    kind = KINDS[kind_name]
    choices = choose(kind, offer, precision)
    folder = out / f"{offer.name}-{kind.name}"
    archive = out / f"{folder.name}.zip"
    with writing(folder):
        folder.mkdir()
        _write_models(choices, offer, folder)
        paste(kind.name, choices, folder)
        if kind.name == "web":
            vendor_web_runtimes(folder / "vendor")
        write_text(folder / CARD_FILE, render_card(kind, choices, offer))
        write_zip(folder, archive)
    return Bundle(folder, archive, choices)


def _write_models(choices: tuple[Choice, ...], offer: Offer, folder: Path) -> None:
    entries = {}
    for choice in choices:
        model = choice.model
        target = folder / model.path.name
        shutil.copyfile(model.path, target)
        entries[target.name] = ContractEntry(model.sha256, target.stat().st_size, model.contract)
    write_text(folder / CONTRACT_FILE, write_contract_file(entries))
    write_text(folder / LABELS_FILE, labels_text(choices[0].model.contract.labels))
    for name, source in offer.beside.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
