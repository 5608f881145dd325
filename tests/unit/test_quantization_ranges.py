"""Three ways from a tensor's values to its range, each on values whose best range is known."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.quantization.graph import affine
from toolchain.quantization.ranges import (
    BINS,
    Histogram,
    choose_range,
    logits_range,
    rounded,
)


def seen(values: np.ndarray) -> Histogram:
    counts, _ = np.histogram(values, BINS, (values.min(), values.max()))
    zeros = int(np.sum(values == 0))
    return Histogram(float(values.min()), float(values.max()), counts.astype(np.int64), zeros)


def mean_error(values: np.ndarray, method: str) -> float:
    return float(np.mean((values - rounded(values, choose_range(seen(values), method))) ** 2))


@pytest.fixture
def bell() -> np.ndarray:
    return np.random.default_rng(0).normal(size=200_000)


def test_minmax_keeps_everything(bell: np.ndarray) -> None:
    point = choose_range(seen(bell), "minmax")
    assert point.low <= bell.min() + point.scale
    assert point.high >= bell.max() - point.scale


def test_percentile_forgets_one_outlier_in_many(bell: np.ndarray) -> None:
    with_outlier = np.append(bell, 50.0)
    kept = choose_range(seen(with_outlier), "percentile")
    assert 3.5 < kept.high < 4.5
    assert -4.5 < kept.low < -3.5
    assert choose_range(seen(with_outlier), "minmax").high > 49


def test_percentile_of_what_is_zero_or_more_starts_at_zero(bell: np.ndarray) -> None:
    point = choose_range(seen(np.maximum(bell, 0)), "percentile")
    assert (point.low, point.zero_point) == (0.0, 0)
    assert 3.5 < point.high < 4.5


@pytest.mark.parametrize("sign", [1, -1])
def test_percentile_keeps_what_a_hardly_ever_active_tensor_says(sign: int) -> None:
    """Eight values in 200,000 are all that it says, and fewer than what is cut off elsewhere."""
    values = np.zeros(200_000)
    values[::25_000] = sign * np.linspace(1, 5, 8)
    point = choose_range(seen(values), "percentile")
    assert max(point.high, -point.low) == pytest.approx(5, rel=0.01)
    # One value far from all others, which are not 0, is no such tensor.
    values = np.append(sign * np.random.default_rng(0).uniform(0.1, 1, 200_000), sign * 5000)
    point = choose_range(seen(values), "percentile")
    assert max(point.high, -point.low) < 3


@pytest.mark.parametrize("outlier", [0.0, 20.0, 400.0])
def test_mse_has_the_least_error_of_the_three(bell: np.ndarray, outlier: float) -> None:
    values = np.append(bell, outlier)
    errors = {method: mean_error(values, method) for method in ("minmax", "percentile", "mse")}
    assert errors["mse"] <= min(errors.values()) * 1.01
    assert errors["mse"] < errors["minmax"]


def test_mse_of_evenly_spread_values_cuts_nothing_off() -> None:
    point = choose_range(seen(np.linspace(0, 6, 100_000)), "mse")
    assert point.high == pytest.approx(6, abs=0.15)


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse"])
def test_a_tensor_of_zeros_has_a_range(method: str) -> None:
    counts = np.zeros(BINS, np.int64)
    counts[0] = 10
    point = choose_range(Histogram(0.0, 0.0, counts), method)
    assert point.scale > 0
    assert rounded(np.zeros(1), point)[0] == 0


def of_long_training(images: int, seed: int = 0) -> np.ndarray:
    """Sure losers far below, and two that come close to each other."""
    random = np.random.default_rng(seed)
    logits = random.uniform(-60, -20, (images, 10))
    for row, (first, second) in zip(
        logits, random.permuted(np.tile(np.arange(10), (images, 1)), axis=1)[:, :2], strict=True
    ):
        row[first] = random.uniform(2, 12)
        row[second] = row[first] - random.uniform(0, 4)
    return logits.astype(np.float32)


def told_apart(logits: np.ndarray, point: object) -> float:
    """Share of images whose two best classes have answers of their own."""
    best = np.sort(rounded(logits.astype(np.float64), point), axis=1)[:, -2:]
    return float(np.mean(best[:, 1] > best[:, 0]))


def test_logits_lose_what_softmax_does_not_hear_and_keep_near_ties_apart() -> None:
    seen_logits, others = of_long_training(640), of_long_training(2000, seed=1)
    point, whole = logits_range(seen_logits), affine(seen_logits.min(), seen_logits.max())
    assert point.scale < whole.scale / 3
    assert 1 - told_apart(others, point) < (1 - told_apart(others, whole)) / 3
    # No image's best class is cut off.
    same = rounded(others.astype(np.float64), point).argmax(axis=1) == others.argmax(axis=1)
    assert same.mean() > 0.98


def test_what_the_second_best_class_had_is_never_cut_off() -> None:
    """Two classes that softmax tells apart by 20 far from zero: of few images, it hears no end."""
    logits = np.array([[-50.0, -20.0], [30.0, 5.0], [-3.0, 9.0]], np.float32)
    point = logits_range(logits)
    assert point.low == pytest.approx(-50, abs=point.scale)
    others = np.array([[-45.0, -40.0], [-40.0, -45.0]])
    assert rounded(others, point).argmax(axis=1).tolist() == [1, 0]


def test_logits_that_softmax_hears_are_kept_whole() -> None:
    logits = np.random.default_rng(0).uniform(-2, 2, (640, 10)).astype(np.float32)
    assert logits_range(logits) == affine(logits.min(), logits.max())


@pytest.mark.parametrize("value", [-40.0, 0.0, 7.0])
def test_logits_that_never_change_have_a_range(value: float) -> None:
    logits = np.full((8, 3), value, np.float32)
    point = logits_range(logits)
    assert rounded(logits.astype(np.float64), point) == pytest.approx(value, abs=point.scale)
