"""Statistics of two answers to each photo are as sure as they say, on simulated flips."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.verification.statistics import mcnemar, paired_difference

# Least share of simulated experiments whose interval holds the truth; 95 % is what it says.
COVERAGE = 0.93
# Most experiments without any difference that McNemar's test may call different at 5 %.
FALSE_ALARMS = 0.05
EXPERIMENTS = 400


def answers(gained: int, lost: int, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether each image was right before and after: 95 % of those that do not flip are."""
    same = np.arange(images - gained - lost) % 20 > 0
    before = np.concatenate([np.zeros(gained, bool), np.ones(lost, bool), same])
    after = np.concatenate([np.ones(gained, bool), np.zeros(lost, bool), same])
    return before, after


@pytest.mark.parametrize(
    ("images", "gain", "loss"), [(300, 0.02, 0.05), (1000, 0.005, 0.005), (1000, 0.002, 0.012)]
)
def test_simulated_flips_of_known_rates_are_covered(images: int, gain: float, loss: float) -> None:
    random = np.random.default_rng(1)
    counts = random.multinomial(images, [gain, loss, 1 - gain - loss], EXPERIMENTS)
    held = 0
    for gained, lost, _ in counts:
        found = paired_difference(*answers(gained, lost, images))
        held += found.low <= gain - loss <= found.high
    assert held / EXPERIMENTS >= COVERAGE


def test_equal_files_are_rarely_called_different() -> None:
    counts = np.random.default_rng(2).multinomial(1000, [0.01, 0.01, 0.98], EXPERIMENTS)
    alarms = sum(mcnemar(int(gained), int(lost)) < 0.05 for gained, lost, _ in counts)
    assert alarms / EXPERIMENTS <= FALSE_ALARMS
