"""Energy counters, on made-up ones: what a package spent, a counter that starts again, a GPU."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from toolchain.benchmark import energy


def zone(folder: Path, name: str, kind: str, microjoules: int, most: int = 1_000_000) -> Path:
    path = folder / name
    path.mkdir(parents=True)
    (path / "name").write_text(f"{kind}\n")
    (path / "energy_uj").write_text(f"{microjoules}\n")
    (path / "max_energy_range_uj").write_text(f"{most}\n")
    return path


def test_packages_are_summed_and_their_parts_not_counted_twice(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 100)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 200)
    part = zone(tmp_path, "intel-rapl:0:0", "core", 50)
    whole = zone(tmp_path, "intel-rapl:2", "psys", 50)
    counter = energy.Rapl(tmp_path)
    for path, now in ((first, 1100), (second, 2200), (part, 9000), (whole, 9000)):
        (path / "energy_uj").write_text(str(now))
    assert counter.spent_mj() == 3.0
    assert counter.spent_mj() == 3.0


def test_a_counter_that_starts_again_goes_on(tmp_path: Path) -> None:
    path = zone(tmp_path, "intel-rapl:0", "package-0", 999_000)
    counter = energy.Rapl(tmp_path)
    (path / "energy_uj").write_text("1000")
    assert counter.spent_mj() == 2.0


def test_where_nothing_may_be_read_there_is_no_counter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OSError, match="no package"):
        energy.Rapl(tmp_path)
    (zone(tmp_path, "intel-rapl:0", "package-0", 0) / "energy_uj").write_text("not a number")
    with pytest.raises(ValueError, match="not a number"):
        energy.Rapl(tmp_path)
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "none")
    monkeypatch.setattr(energy, "NVML", "libno-such-library.so.1")
    assert energy.find_counter("cuda") is None


class Driver:
    """NVML as ctypes sees it, with a count that the test sets."""

    def __init__(self, answer: int = 0) -> None:
        self.answer, self.millijoules = answer, 5_000

    def nvmlInit_v2(self) -> int:
        return self.answer

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, device: object) -> int:
        return 0 if index == 0 else 6

    def nvmlDeviceGetTotalEnergyConsumption(self, device: object, count: object) -> int:
        ctypes.cast(count, ctypes.POINTER(ctypes.c_ulonglong))[0] = self.millijoules
        return 0


def test_a_gpu_counts_from_when_it_was_opened() -> None:
    driver = Driver()
    counter = energy.Nvml(driver)
    assert counter.spent_mj() == 0.0
    driver.millijoules += 1234
    assert counter.spent_mj() == 1234.0


def test_a_gpu_that_does_not_count_is_none() -> None:
    with pytest.raises(OSError, match="NVML answered 3"):
        energy.Nvml(Driver(answer=3))
