"""What a run offers to a bundle, and what a bundle is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolchain.contract import ExportedModel
from toolchain.measurement import Benchmark, Measurement
from toolchain.values import Dataset, FileVerification


@dataclass(frozen=True, slots=True)
class Offer:
    """The exported files of a run and the evidence about these very files.

    Attributes:
      name: of the recipe.
      exported: the files.
      beside: other files of the export that travel along: path inside the bundle -> where it is.
      verified: file name -> what verify found; empty where it did not run on these files.
      benchmark: None where it did not run.
      dataset: None where the data stage is not at hand.
      notes: what training chose on the way, one sentence each; names the pretrained weights.
      command: what was typed to make the files; empty when that is not known.
    """

    name: str
    exported: tuple[ExportedModel, ...]
    beside: dict[str, Path]
    verified: dict[str, FileVerification]
    benchmark: Benchmark | None
    dataset: Dataset | None
    notes: tuple[str, ...]
    command: str

    def measured(self, model: ExportedModel) -> list[Measurement]:
        """The rows with numbers of this very file."""
        rows = self.benchmark.measurements if self.benchmark else ()
        return [row for row in rows if row.sha256 == model.sha256 and row.latency is not None]


@dataclass(frozen=True, slots=True)
class Choice:
    """A file that goes into a bundle, and why it and no other of its format."""

    model: ExportedModel
    reason: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """A finished bundle.

    Attributes:
      folder, archive: the same files, as a folder and as a zip.
      choices: the model files in it.
    """

    folder: Path
    archive: Path
    choices: tuple[Choice, ...]
