"""The vocabulary of the audit: which kinds of fault there are, and what an audit found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, Final

SCHEMA: Final = 1


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"  # stops training, or corrupts what it learns or the numbers it reports
    WARNING = "warning"  # training runs; the result may be worse than it could be
    NOTE = "note"  # handled; good to know


class Kind(Enum):
    """Every kind of finding: its name, its severity and what it means."""

    EMPTY = ("empty", Severity.ERROR, "The file has no bytes.")
    UNREADABLE = ("unreadable", Severity.ERROR, "The file cannot be read.")
    TRUNCATED = ("truncated", Severity.ERROR, "The file ends before its image does.")
    UNDECODABLE = ("undecodable", Severity.ERROR, "The file is no image that can be decoded.")
    TOO_MANY_BYTES = ("too-many-bytes", Severity.ERROR, "The file is larger than images may be.")
    TOO_MANY_PIXELS = ("too-many-pixels", Severity.ERROR, "The image has more pixels than allowed.")
    MISSING = ("missing", Severity.ERROR, "A list names an image that is not there.")
    TWO_LABELS = ("two-labels", Severity.ERROR, "The same pixels lie in more than one class.")
    UNTRAINED_CLASS = ("untrained-class", Severity.ERROR, "A class has no image to train on.")
    EMPTY_SPLIT = ("empty-split", Severity.ERROR, "No image falls into a split.")
    SPLIT_DUPLICATE = (
        "split-duplicate",
        Severity.WARNING,
        "The same pixels lie in more than one of the given splits.",
    )
    NEAR_SPLIT_DUPLICATE = (
        "near-split-duplicate",
        Severity.WARNING,
        "Images that look the same fall into more than one split.",
    )
    NEAR_TWO_LABELS = (
        "near-two-labels",
        Severity.WARNING,
        "Images that look the same lie in more than one class.",
    )
    DUPLICATE = ("duplicate", Severity.WARNING, "The same pixels are there more than once.")
    WRONGLY_NAMED = (
        "wrongly-named",
        Severity.WARNING,
        "The name's ending says another format than the content.",
    )
    CMYK = ("cmyk", Severity.WARNING, "Colours for print; converted to RGB, they may be off.")
    BLANK = ("blank", Severity.WARNING, "All pixels have nearly the same brightness.")
    IMBALANCE = (
        "imbalance",
        Severity.WARNING,
        "A class has less than a third, or more than three times, the images of the median class.",
    )
    SMALL_CLASS = ("small-class", Severity.WARNING, "A class is too small to be in every split.")
    NEAR_DUPLICATE = ("near-duplicate", Severity.NOTE, "Images look the same, in one split.")
    SIXTEEN_BIT = ("16-bit", Severity.NOTE, "16 bits a channel; 8 are kept.")
    PALETTE = ("palette", Severity.NOTE, "A palette instead of colours; converted to RGB.")
    ALPHA = ("alpha", Severity.NOTE, "Pixels can be transparent; laid on white.")
    ANIMATED = ("animated", Severity.NOTE, "More than one frame; the first is taken.")
    EXIF_ROTATED = (
        "exif-rotated",
        Severity.NOTE,
        "Stored turned; turned upright as EXIF says.",
    )

    def __init__(self, slug: str, severity: Severity, meaning: str) -> None:
        self.slug = slug
        self.severity = severity
        self.meaning = meaning


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault.

    Attributes:
      kind: which.
      names: the images it concerns, the one to keep first; of a class or split, its name.
      detail: what was found, a few words; empty when the kind says it all.
      exclude: the images to leave out so that the fault is gone.
    """

    kind: Kind
    names: tuple[str, ...]
    detail: str = ""
    exclude: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data, an item of `findings` in the audit's JSON."""
        return {
            "kind": self.kind.slug,
            "severity": str(self.kind.severity),
            "names": list(self.names),
            "detail": self.detail,
            "exclude": list(self.exclude),
        }


@dataclass(frozen=True, slots=True)
class Audit:
    """What was looked at and what was found.

    Attributes:
      path: the folder or archive.
      layout: as `data.source` names it.
      images, bytes: how many images were read, and their size.
      decoded: how many of them are good.
      splits: split -> class -> images, as the data stage would split them.
      near: whether near-duplicates were looked for.
      findings: ordered by kind, then as read.
      seconds: duration.
      notes: what the source assumed, one sentence each.
    """

    path: str
    layout: str
    images: int
    bytes: int
    decoded: int
    splits: dict[str, dict[str, int]]
    near: bool
    findings: tuple[Finding, ...]
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing is an error."""
        return all(finding.kind.severity is not Severity.ERROR for finding in self.findings)

    def counts(self) -> dict[Kind, int]:
        """Findings of each kind that has any, errors first."""
        found = Counter(finding.kind for finding in self.findings)
        return {kind: found[kind] for kind in Kind if found[kind]}

    def of(self, kind: Kind) -> list[Finding]:
        """The findings of one kind."""
        return [finding for finding in self.findings if finding.kind is kind]

    def exclude(self) -> list[str]:
        """Names of the images to leave out, each once, in the order of the findings."""
        return list(dict.fromkeys(name for f in self.findings for name in f.exclude))

    def to_json(self) -> dict[str, Any]:
        """Plain data with a stable schema; every kind is listed, found or not."""
        counts = self.counts()
        return {
            "schema": SCHEMA,
            "path": self.path,
            "layout": self.layout,
            "images": self.images,
            "decoded": self.decoded,
            "bytes": self.bytes,
            "near": self.near,
            "seconds": round(self.seconds, 3),
            "passed": self.passed,
            "notes": list(self.notes),
            "splits": self.splits,
            "kinds": {
                kind.slug: {
                    "severity": str(kind.severity),
                    "meaning": kind.meaning,
                    "count": counts.get(kind, 0),
                }
                for kind in Kind
            },
            "findings": [finding.to_json() for finding in self.findings],
        }
