"""A recipe's images -> Audit: read every byte, find every fault, stop at none."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from toolchain.columns import Choices, Numbers
from toolchain.data.audit.classes import class_findings
from toolchain.data.audit.copies import Placed, exact_findings, kept_of_each, near_findings
from toolchain.data.audit.findings import Audit, Finding, Kind
from toolchain.data.audit.near import NearGroup, near_groups
from toolchain.data.audit.scan import Scan, scan
from toolchain.data.selection import taken
from toolchain.data.source import MISSING, open_source
from toolchain.data.sources.base import Source
from toolchain.data.split import assign
from toolchain.models import locate
from toolchain.recipe import Recipe
from toolchain.recipe.sections import DataSection
from toolchain.values import SPLITS


def audit(recipe: Recipe, *, near: bool = True) -> Audit:
    """Check the images that the recipe names, as the data stage would read and split them.

    Args:
      recipe: which images and how they are split. Images that it leaves out are not
        looked at.
      near: whether to look for near-duplicates too.

    Raises:
      DataError: there are no images, or they are in no known layout; see `source.open_source`.
    """
    started = time.monotonic()
    source = audited_source(recipe)
    seen = scan(source, near=near)
    labels = Numbers(seen.items.labels(source.layout.classes))
    splits = assign(seen.sha256, labels, seen.items.splits, recipe.data)
    placed = Placed(seen.items, seen.sha256, Choices.of(splits))
    counts = _counts(source.layout.classes, labels, placed, recipe.data)
    findings = [*seen.findings, *_missing(source), *exact_findings(placed), *class_findings(counts)]
    if near:
        findings += near_findings(placed, _near(seen, placed))
    order = {kind: position for position, kind in enumerate(Kind)}
    return Audit(
        path=str(locate(recipe.data.path, "datasets")) if recipe.data.path else recipe.data.source,
        layout=source.layout.name,
        images=seen.images,
        bytes=seen.bytes,
        decoded=len(seen.items),
        splits=counts,
        near=near,
        findings=tuple(sorted(findings, key=lambda finding: order[finding.kind])),
        seconds=time.monotonic() - started,
        notes=source.layout.notes,
    )


def audited_source(recipe: Recipe) -> Source:
    """The recipe's images; one that a list names and that is not there stops nothing."""
    data = dataclasses.replace(recipe.data, on_bad_image="skip")
    return open_source(dataclasses.replace(recipe, data=data))


def _counts(
    classes: Sequence[str], labels: Numbers, placed: Placed, section: DataSection
) -> dict[str, dict[str, int]]:
    """Of the images that the data stage takes, how many each split has of each class."""
    _, _, kept = taken(placed.items.names, placed.sha256, labels, placed.splits, section)
    counts = Counter(zip(placed.splits.take(kept), labels.take(kept), strict=True))
    return {
        split: {name: counts[split, label] for label, name in enumerate(classes)}
        for split in SPLITS
    }


def _missing(source: Source) -> Iterator[Finding]:
    for name, reason in source.layout.skipped:
        if reason == MISSING:
            yield Finding(Kind.MISSING, (name,), "", (name,))


def _near(seen: Scan, placed: Placed) -> list[NearGroup]:
    """Groups among the copies that are kept: what is like one that is left out is like those."""
    kept = kept_of_each(placed)
    groups = near_groups(seen.looks[kept], seen.thumbs[kept])
    return [
        dataclasses.replace(group, members=tuple(kept[list(group.members)].tolist()))
        for group in groups
    ]
