"""Energy counters: RAPL of x86 processors, NVML of NVIDIA GPUs.

Both count the whole processor or GPU, idle power and other programs included. Nothing here needs
more rights than reading a file; where the kernel keeps RAPL for root there is no counter.
"""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path
from typing import Any, Final, Protocol

POWERCAP: Final = Path("/sys/class/powercap")
NVML: Final = "libnvidia-ml.so.1"
_NVML_SUCCESS: Final = 0


class Counter(Protocol):
    """Something that counts energy.

    Attributes:
      name: what it is, for a person.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    def spent_mj(self) -> float:
        """Millijoules since the counter was opened; never falls."""


class Rapl:
    """The packages of an x86 processor, summed.

    https://www.kernel.org/doc/html/latest/power/powercap/powercap.html: energy_uj starts again at
    0 after max_energy_range_uj.
    """

    name = "RAPL, processor packages"

    def __init__(self, folder: Path = POWERCAP) -> None:
        """Open every package under `folder`.

        Raises:
          OSError, ValueError: there is none, or it may not be read.
        """
        # "intel-rapl:0" is a package, "intel-rapl:0:1" a part of one and in its count already.
        zones = [zone for zone in sorted(folder.glob("intel-rapl:*")) if zone.name.count(":") == 1]
        self._zones = [zone for zone in zones if _text(zone / "name").startswith("package")]
        if not self._zones:
            raise OSError("no package is counted here")
        self._ranges = [int(_text(zone / "max_energy_range_uj")) for zone in self._zones]
        self._last = self._read()
        self._spent_uj = 0

    def spent_mj(self) -> float:
        """Read the counters; must be called more often than they start again (minutes)."""
        now = self._read()
        for before, after, most in zip(self._last, now, self._ranges, strict=True):
            self._spent_uj += after - before if after >= before else after + most - before
        self._last = now
        return self._spent_uj / 1000

    def _read(self) -> list[int]:
        return [int(_text(zone / "energy_uj")) for zone in self._zones]


class Nvml:
    """The first NVIDIA GPU, Volta or newer.

    https://docs.nvidia.com/deploy/nvml-api: nvmlDeviceGetTotalEnergyConsumption counts
    millijoules since the driver was loaded.
    """

    name = "NVML, first GPU"

    def __init__(self, library: Any = None) -> None:
        """Load the driver's library.

        Raises:
          OSError: there is none, or this GPU does not count.
        """
        self._library = ctypes.CDLL(NVML) if library is None else library
        self._device = ctypes.c_void_p()
        self._check(self._library.nvmlInit_v2())
        found = self._library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(self._device))
        self._check(found)
        self._start = self._read()

    def spent_mj(self) -> float:
        """Read the counter."""
        return float(self._read() - self._start)

    def _read(self) -> int:
        count = ctypes.c_ulonglong()
        found = self._library.nvmlDeviceGetTotalEnergyConsumption(self._device, ctypes.byref(count))
        self._check(found)
        return count.value

    def _check(self, code: int) -> None:
        if code != _NVML_SUCCESS:
            raise OSError(f"NVML answered {code}")


def find_counter(provider: str) -> Counter | None:
    """The counter of what a provider runs on; None where there is none that may be read."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return Rapl() if provider == "cpu" else Nvml()
    return None


def _text(path: Path) -> str:
    return path.read_text().strip()
