"""Images that look the same: re-encoded, resized or brightened copies, in almost linear time.

1. Each image has a perceptual hash of 64 bits (phash, from the library imagehash). Copies differ
   in at most 4 bits: of 14 x 1,200 changed photos, digits and CIFAR-10 images 99.9 % did.
2. Pairs of hashes that differ in at most 4 bits agree in at least 2 of 6 blocks. For each of the
   15 pairs of blocks the hashes are sorted with those blocks in front, and each is compared with
   its next neighbours that agree in both: G. Manku, A. Jain, A. Das Sarma: Detecting
   near-duplicates for web crawling, WWW 2007. Two images agree in about 21 bits by chance once in
   two million pairs, so the cost is that of 15 sorts.
3. What is left is compared by the correlation of grey thumbnails, which no change of brightness
   moves. Bounds were measured: see benchmarks/audit.py.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE: Final = 16
MAX_BITS: Final = 4
MIN_CORRELATION: Final = 0.99
# Below this deviation (of 255) an image has nothing that a hash could hold on to.
MIN_CONTRAST: Final = 2.0
# An image is first averaged down to this: of a photo of 12 MP, 8 ms instead of 78.
_LEAST_SIDE: Final = 128
# And no side is left longer than this, of a long and narrow one: looking takes 24 bytes a pixel.
_MOST_SIDE: Final = 2048
_EDGES: Final = (0, 10, 21, 32, 43, 53, 64)
# Neighbours that each hash is compared with in each order. Hundreds of images alike, such as the
# frames of a film, are still found: each is compared with the next ones, and groups are joined.
_WINDOW: Final = 64

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class NearGroup:
    """Images that look the same.

    Attributes:
      members: positions, ascending; each looks like at least one other.
      correlation: the least of the pairs that hold the group together, 0..1.
    """

    members: tuple[int, ...]
    correlation: float


def reduced(image: Image.Image) -> Image.Image:
    """The image averaged down to some 128 pixels, which is all that its look needs."""
    factor = max(1, min(image.size) // _LEAST_SIDE)
    across, down = (max(factor, math.ceil(side / _MOST_SIDE)) for side in image.size)
    return image.reduce((across, down)) if max(across, down) > 1 else image


def appearance(image: Image.Image) -> tuple[int, NDArray[np.uint8]]:
    """What copies are found by.

    Returns:
      phash as 64 bits: which of the 8x8 lowest frequencies exceed their median; and the grey
      thumbnail, uint8 [SIDE, SIDE].
    """
    from imagehash import phash

    grey = image.convert("L")
    thumb = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    return int.from_bytes(np.packbits(phash(grey).hash).tobytes()), thumb


def _contrasts(thumbs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Standard deviation of each thumbnail, uint8 [n, pixels] -> float32 [n]."""
    # One at a time: a million thumbnails as floats would take a gigabyte.
    return np.fromiter((thumb.std() for thumb in thumbs), np.float32, len(thumbs))


def near_groups(looks: NDArray[np.uint64], thumbs: NDArray[np.uint8]) -> list[NearGroup]:
    """Groups of images that look the same.

    Args:
      looks: uint64 [n], perceptual hashes.
      thumbs: uint8 [n, pixels], grey thumbnails.
    """
    searched = np.flatnonzero(_contrasts(thumbs) >= MIN_CONTRAST)
    if len(searched) < 2:
        return []
    group = np.arange(len(looks))
    linked, strength = [], []
    for order, bound in _orders(looks[searched]):
        first, second = _alike(looks[searched], order, bound)
        first, second = searched[first], searched[second]
        fresh = group[first] != group[second]
        first, second = _distinct(first[fresh], second[fresh], len(looks))
        correlation = _correlations(thumbs, first, second)
        alike = correlation >= MIN_CORRELATION
        linked.append(first[alike])
        strength.append(correlation[alike])
        group = _joined(group, first[alike], second[alike])
    return _grouped(group, np.concatenate(linked), np.concatenate(strength))


def _orders(looks: NDArray[np.uint64]) -> Iterator[tuple[Indices, NDArray[np.bool_]]]:
    """For each pair of blocks: the order with those in front, and where neighbours agree there."""
    for pair in itertools.combinations(range(len(_EDGES) - 1), 2):
        turned = np.zeros_like(looks)
        rest = [block for block in range(len(_EDGES) - 1) if block not in pair]
        for block in (*pair, *rest):
            low, high = _EDGES[block], _EDGES[block + 1]
            bits = (looks >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
            turned = (turned << np.uint64(high - low)) | bits
        width = sum(_EDGES[block + 1] - _EDGES[block] for block in pair)
        order = np.argsort(turned, kind="stable")
        front = turned[order] >> np.uint64(64 - width)
        yield order, front[1:] == front[:-1]


def _alike(
    looks: NDArray[np.uint64], order: Indices, agree: NDArray[np.bool_]
) -> tuple[Indices, Indices]:
    """Pairs of neighbours in `order` that differ in few bits, as positions in `looks`."""
    ordered = looks[order]
    firsts, seconds = [], []
    # Places whose next `step` neighbours all agree with them.
    places = np.flatnonzero(agree)
    for step in range(1, _WINDOW + 1):
        if not len(places):
            break
        bits = np.bitwise_count(ordered[places] ^ ordered[places + step])
        close = places[bits <= MAX_BITS]
        firsts.append(order[close])
        seconds.append(order[close + step])
        places = places[places + step < len(agree)]
        places = places[agree[places + step]]
    if not firsts:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return np.concatenate(firsts), np.concatenate(seconds)


def _distinct(first: Indices, second: Indices, count: int) -> tuple[Indices, Indices]:
    pairs = np.unique(np.minimum(first, second) * count + np.maximum(first, second))
    return pairs // count, pairs % count


def _correlations(
    thumbs: NDArray[np.uint8], first: Indices, second: Indices
) -> NDArray[np.float32]:
    """Pearson correlation of the thumbnails of each pair, float32 [pairs]."""
    result = np.empty(len(first), np.float32)
    for start in range(0, len(first), 4096):
        part = slice(start, start + 4096)
        one, other = _centred(thumbs[first[part]]), _centred(thumbs[second[part]])
        result[part] = np.einsum("ij,ij->i", one, other)
    return result


def _centred(thumbs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean 0 and length 1, float32."""
    values = thumbs.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
    return values


def _joined(group: Indices, first: Indices, second: Indices) -> Indices:
    """Group numbers after each pair's groups became one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(first), np.int8)
    edges = coo_array((ones, (group[first], group[second])), shape=(len(group), len(group)))
    _, labels = connected_components(edges, directed=False)
    joined: Indices = labels[group].astype(np.int64)
    return joined


def _grouped(group: Indices, linked: Indices, strength: NDArray[np.float32]) -> list[NearGroup]:
    """The groups of the linked images; `strength` is each link's correlation."""
    weakest = np.ones(int(group.max(initial=0)) + 1, np.float32)
    np.minimum.at(weakest, group[linked], strength)
    wanted = set(group[linked].tolist())
    members: dict[int, list[int]] = {}
    for position, number in enumerate(group.tolist()):
        if number in wanted:
            members.setdefault(number, []).append(position)
    return [NearGroup(tuple(m), float(weakest[number])) for number, m in members.items()]
