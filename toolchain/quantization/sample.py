"""Which photos calibration sees. Plain numpy, so that other quantizers can be given the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def calibration_rows(train: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """`count` rows of the train split, or all if it has fewer, drawn from the seed alone."""
    return np.sort(np.random.default_rng((seed, 0)).permutation(train)[:count])
