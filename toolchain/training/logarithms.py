"""Logarithms of probabilities. Plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def log_softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """The logarithm of each class's probability, [n, classes], of the dtype of the logits."""
    below = logits - logits.max(axis=1, keepdims=True)
    logs: NDArray[Any] = below - np.log(np.exp(below).sum(axis=1, keepdims=True))
    return logs
