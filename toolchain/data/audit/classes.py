"""Classes and splits: too few images, too many, none at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Final

from toolchain.data.audit.findings import Finding, Kind
from toolchain.values import SPLITS

# A class with a third of the median's images is seen a third as often; without weights in the
# loss, accuracy on it falls behind.
IMBALANCE: Final = 3.0

Counts = Mapping[str, Mapping[str, int]]


def class_findings(splits: Counts) -> Iterator[Finding]:
    """Faults of whole splits and classes.

    Args:
      splits: split -> class -> images; every split and class is there, with 0 where it is empty.
    """
    for split in SPLITS:
        if not any(splits[split].values()):
            yield Finding(Kind.EMPTY_SPLIT, (split,))
    totals = {name: sum(splits[split][name] for split in SPLITS) for name in splits["train"]}
    for name, total in totals.items():
        missing = [split for split in SPLITS if not splits[split][name]]
        if "train" in missing:
            yield Finding(Kind.UNTRAINED_CLASS, (name,), _images(total))
        elif missing:
            detail = f"{_images(total)}, none in {' and '.join(missing)}"
            yield Finding(Kind.SMALL_CLASS, (name,), detail)
    yield from _imbalance(totals)


def _imbalance(totals: Mapping[str, int]) -> Iterator[Finding]:
    middle = median(totals.values())
    for name, total in totals.items():
        if not middle / IMBALANCE <= total <= middle * IMBALANCE:
            yield Finding(Kind.IMBALANCE, (name,), f"{_images(total)}, median {middle:,.0f}")


def _images(count: int) -> str:
    return f"{count:,} image" + ("" if count == 1 else "s")
