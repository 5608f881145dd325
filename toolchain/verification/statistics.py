"""How sure a share is that was counted on a few hundred images."""

from __future__ import annotations

import math
from typing import Final

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
