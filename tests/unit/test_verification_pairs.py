"""Statistics of two answers to each photo: as published, and as sure as they say."""

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
    ("both", "second", "first", "none", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998) 2635, table of examples, method 10.
        (36, 12, 2, 0, 0.0569, 0.3404),
        # Nothing differs: Wilson's own interval of 54 of 54 to either side, 1 - 54 / (54 + z²).
        (54, 0, 0, 0, -0.0664, 0.0664),
    ],
)
def test_the_interval_is_the_published_one(
    both: int, second: int, first: int, none: int, low: float, high: float
) -> None:
    counts = (both, second, first, none)
    before = np.repeat(np.array([True, False, True, False]), counts)
    after = np.repeat(np.array([True, True, False, False]), counts)
    found = paired_difference(before, after)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("lost", "gained", "expected"),
    # Both tails of a fair coin: 2 (1 + 9) / 2^9, and 2 / 2^6.
    [(1, 8, 20 / 512), (6, 0, 2 / 64), (5, 5, 1.0), (0, 0, 1.0)],
)
def test_the_p_value_is_that_of_a_fair_coin(lost: int, gained: int, expected: float) -> None:
    assert mcnemar(lost, gained) == pytest.approx(expected, abs=1e-12)


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
