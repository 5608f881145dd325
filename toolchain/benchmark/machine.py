"""What the numbers were measured on: processor, memory, system and versions, as plain text.

Nothing that names a person or a place: no host name, no user, no path.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil

# Instruction sets that decide how fast int8 and float kernels run (x86-64, then Arm).
FLAGS: Final = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
)
PACKAGES: Final = ("numpy", "onnxruntime", "onnxruntime-gpu", "ai-edge-litert", "tensorflow")
_CPUINFO: Final = Path("/proc/cpuinfo")


def describe() -> dict[str, str]:
    """The machine as name -> text, the load average at this moment included."""
    cpuinfo = _cpuinfo()
    flags = (cpuinfo.get("flags") or cpuinfo.get("Features") or "").split()
    physical = psutil.cpu_count(logical=False)
    facts = {
        "processor": cpuinfo.get("model name") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "logical cores": str(_usable_cores()),
        "physical cores": str(physical) if physical else "unknown",
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "processor flags": " ".join(flag for flag in FLAGS if flag in flags) or "unknown",
        "system": _system(),
        "load at start": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "python": platform.python_version(),
    }
    return facts | versions()


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Version of each of `packages` that is installed; none of them is imported."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _system() -> str:
    kernel = f"{platform.system()} {platform.release().partition('-')[0]}"
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {kernel}"
    except (OSError, KeyError):
        return kernel


def _usable_cores() -> int:
    # A container may be given fewer cores than the machine has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpuinfo() -> dict[str, str]:
    try:
        text = _CPUINFO.read_text(errors="replace")
    except OSError:
        return {}
    first = text.split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
