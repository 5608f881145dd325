"""`data.limit`: at most so many images of a split, its classes in proportion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from toolchain.data.split import position
from toolchain.recipe.sections import LimitSection
from toolchain.values import SPLITS


def within(
    sha256: Sequence[str],
    labels: Sequence[int],
    splits: Sequence[str],
    limit: LimitSection,
    seed: int,
) -> list[int]:
    """Places of the images that stay, ascending; all of them where nothing is limited.

    Inside a class the images of the lowest hash stay, so which ones depends on their pixels and
    the seed alone, and a larger limit keeps those of a smaller one.
    """
    kept: list[int] = []
    for split in SPLITS:
        of_class: dict[int, list[int]] = {}
        for place, own in enumerate(splits):
            if own == split:
                of_class.setdefault(labels[place], []).append(place)
        counts = {label: len(places) for label, places in of_class.items()}
        quotas = shares(getattr(limit, split), counts)
        for label, places in of_class.items():
            places.sort(key=lambda place: position(sha256[place], seed))
            kept += places[: quotas[label]]
    return sorted(kept)


def shares(total: int | None, counts: Mapping[int, int]) -> dict[int, int]:
    """`total` divided in proportion to `counts`, exactly: largest remainders get what is left.

    A total of None, or one above the sum of the counts, gives everyone their count.
    """
    everything = sum(counts.values())
    if total is None or total >= everything:
        return dict(counts)
    parts = {label: divmod(total * count, everything) for label, count in counts.items()}
    left = total - sum(whole for whole, _ in parts.values())
    by_remainder = sorted(parts, key=lambda label: (-parts[label][1], label))
    extra = set(by_remainder[:left])
    return {label: whole + (label in extra) for label, (whole, _) in parts.items()}
