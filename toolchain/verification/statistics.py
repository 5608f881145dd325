"""How sure a share is that was counted on a few hundred images."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toolchain.values import Interval

# The 97.5 % point of the normal distribution.
_Z95: Final = 1.959963984540054


def wilson(successes: int, trials: int) -> Interval:
    """A share with its 95 % Wilson score interval.

    centre = (p + z²/2n) / (1 + z²/n), half = z √(p(1-p)/n + z²/4n²) / (1 + z²/n)
    (Wilson 1927; https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval).

    Args:
      successes: 0..trials.
      trials: at least 1.

    Raises:
      ValueError: the counts are not such.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"expected 0 <= successes <= trials, received {successes} of {trials}")
    share, square = successes / trials, _Z95 * _Z95
    scale = 1.0 + square / trials
    centre = (share + square / (2 * trials)) / scale
    spread = share * (1.0 - share) / trials + square / (4 * trials * trials)
    half = _Z95 * math.sqrt(spread) / scale
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def mcnemar(lost: int, gained: int) -> float:
    """Two-sided exact p-value of as many photos lost and gained, when either is as likely.

    The binomial test on the photos where two answers differ in being right (McNemar 1947).
    """
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0


def paired_difference(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Interval:
    """Accuracy of `second` minus that of `first` on the same photos, with its 95 % interval.

    Newcombe's method 10: Wilson intervals of both, joined by their correlation ("Improved
    confidence intervals for the difference between binomial proportions based on paired data",
    Statistics in Medicine 17, 1998). Unlike a bootstrap it has a width when no photo differs.

    Args:
      first, second: bool [n], whether each photo was called right; n at least 1.

    Returns:
      In -1..1.
    """
    count = len(first)
    one, two = wilson(int(first.sum()), count), wilson(int(second.sum()), count)
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    only_one, only_two = int((first & ~second).sum()), int((~first & second).sum())
    spread = (both + only_one) * (both + only_two) * (neither + only_one) * (neither + only_two)
    product = float(both * neither - only_one * only_two)
    if product > 0:
        product = max(0.0, product - count / 2)
    phi = product / math.sqrt(spread) if spread else 0.0

    def joined(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))

    value = two.value - one.value
    low = value - joined(two.value - two.low, one.high - one.value)
    high = value + joined(two.high - two.value, one.value - one.low)
    return Interval(value, low, high)
