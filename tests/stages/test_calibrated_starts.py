"""benchmarks/calibrated_starts.py: what it asks about, and what it calls far."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from networks import photos

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

EXACT = np.array([[4.0, 1.0, -3.0], [0.0, 9.0, 2.0], [1.0, -9.0, 1.5]])


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import calibrated_starts

    return calibrated_starts


def test_copies_are_photos_too_and_the_first_are_untouched(starts: ModuleType) -> None:
    pixels = photos(6, 20)
    sets = starts.changed(pixels)
    assert len(sets) == 4
    assert np.array_equal(sets["as they are"], pixels)
    for copy in sets.values():
        assert (copy.shape, copy.dtype) == (pixels.shape, np.uint8)
    others = [copy for name, copy in sets.items() if name != "as they are"]
    assert all(np.abs(copy.astype(int) - pixels).mean() > 5 for copy in others)
    assert all(np.array_equal(copy, starts.changed(pixels)[name]) for name, copy in sets.items())


def test_only_photos_near_the_border_count_in_the_margin(starts: ModuleType) -> None:
    assert starts.compared(EXACT, EXACT) == {
        "near": 2,
        "margin_off": 0.0,
        "divergence": 0.0,
        "agreement": 1.0,
    }
    far = np.add(EXACT, [[0, 0, 0], [0, -1, 1], [0, 0, 0]])
    assert starts.compared(far, EXACT)["margin_off"] == 0
    # The third photo's two best classes change places.
    flipped = np.add(EXACT, [[0, 0, 0], [0, 0, 0], [1, 0, 0]])
    found = starts.compared(flipped, EXACT)
    assert found["margin_off"] == pytest.approx(np.sqrt(1 / 2))
    assert found["agreement"] == pytest.approx(2 / 3)
    assert found["divergence"] > 0.01
    # What is the same for all classes is no answer.
    assert starts.compared(EXACT + 7, EXACT)["margin_off"] == pytest.approx(0)


def test_the_table_has_a_row_a_start(starts: ModuleType) -> None:
    sets = {"as they are": starts.compared(EXACT, EXACT)}
    result = {
        "name": "x",
        "date": "2026-11-28T00:00:00+00:00",
        "command": "python x",
        "images": 3,
        "float_right": 1.0,
        "starts": {"minmax": {"right": 1.0, "sets": sets}, "mse": {"right": 0.5, "sets": sets}},
    }
    rows = [line for line in starts.markdown(result).splitlines() if line.startswith("| m")]
    assert rows == [
        "| minmax | 100.00 | 100.00 | 0.00000 | 0.00 |",
        "| mse | 50.00 | 100.00 | 0.00000 | 0.00 |",
    ]
