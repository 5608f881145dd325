"""The checks behind `toolchain doctor`: each looks at one thing and says it in words."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from toolchain import __version__
from toolchain.cli import packages
from toolchain.errors import MachineError
from toolchain.models import embedded_backbone, expanded
from toolchain.training.workers import VARIABLE as WORKERS
from toolchain.training.workers import Workers

State = Literal["ok", "note", "broken"]
LEAST_DISK_MIB: Final = 500
COMFORTABLE_DISK_MIB: Final = 5_000
CHILD_TIMEOUT_S: Final = 30.0
# Patterns of what a driver leaves; /dev/dxg is the GPU of Windows inside WSL2.
NVIDIA_TRACES: Final = (
    "/proc/driver/nvidia/version",
    "/dev/nvidiactl",
    "/dev/nvidia[0-9]*",
    "/dev/dxg",
)
# Numbers the devices that a CUDA program may use; empty and -1 mean none.
HIDING: Final = "CUDA_VISIBLE_DEVICES"
_WEIGHTS: Final = (".h5", ".safetensors")
_MIB: Final = 2**20

# Native libraries can crash while they are loaded, so a child tries it and tells.
_RUNTIMES: Final = """
import json
found = {}
try:
    import onnxruntime
    found["onnxruntime"] = onnxruntime.get_available_providers()
except Exception as error:
    found["onnxruntime error"] = f"{type(error).__name__}: {error}"
try:
    import ai_edge_litert.interpreter
    found["litert"] = True
except Exception as error:
    found["litert error"] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""
_GPUS: Final = """
import json, tensorflow
print(json.dumps([gpu.name for gpu in tensorflow.config.list_physical_devices("GPU")]))
"""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Attributes:
      name: what was looked at.
      state: "ok", "note" (works, worth knowing) or "broken" (something required does not work).
      found: in words.
      remedy: what to do; empty when there is nothing to do.
    """

    name: str
    state: State
    found: str
    remedy: str = ""


def all_checks() -> list[Check]:
    """Every check, in the order in which they are printed."""
    return [
        python(),
        Check("toolchain", "ok", __version__),
        base_packages(),
        *runtimes(in_child(_RUNTIMES)),
        onnxruntime_once(),
        train_extra(),
        gpu(),
        *workers(os.environ.get(WORKERS, "")),
        processor(),
        memory(),
        disk(Path.cwd()),
        data_folder(os.environ.get("TOOLCHAIN_DATA", "")),
        weights(),
    ]


def python() -> Check:
    """The version of Python against those that are known to work."""
    wanted, found = packages.python_wanted(), platform.python_version()
    if packages.Package("python", wanted, found).fits():
        return Check("Python", "ok", found)
    return Check("Python", "broken", f"{found}, known to work is {wanted}", "use another Python")


def base_packages() -> Check:
    """The base install: everything but training, quantization and export."""
    return _group("base install", packages.packages(), "broken", "pip install toolchain")


def train_extra() -> Check:
    """The TensorFlow side; a machine that only verifies and predicts does without."""
    wanted = packages.packages("train")
    if all(package.found is None for package in wanted if package.name.startswith("tensorflow")):
        return Check(
            "train extra",
            "note",
            "not installed: train, quantize and export do not run here",
            "pip install 'toolchain[train]'",
        )
    return _group("train extra", wanted, "note", "pip install 'toolchain[train]'")


def _group(name: str, wanted: Iterable[packages.Package], state: State, remedy: str) -> Check:
    wanted = list(wanted)
    wrong = [
        f"{package.name} {package.found or 'missing'}"
        + (f" (known to work: {package.wanted})" if package.found and package.wanted else "")
        for package in wanted
        if not package.fits()
    ]
    if wrong:
        return Check(name, state, ", ".join(wrong), remedy)
    versions = ", ".join(f"{package.name} {package.found}" for package in wanted)
    return Check(name, "ok", f"known-good versions: {versions}")


def runtimes(found: dict[str, Any] | str) -> list[Check]:
    """Whether LiteRT and onnxruntime can be loaded, and what onnxruntime runs on.

    Args:
      found: what the child told, or why it told nothing.
    """
    if isinstance(found, str):
        found = {"onnxruntime error": found, "litert error": found}
    remedy = "pip install --force-reinstall onnxruntime ai-edge-litert"
    checks = [
        Check("litert", "ok", "loads")
        if "litert" in found
        else Check("litert", "broken", str(found.get("litert error")), remedy)
    ]
    if "onnxruntime" in found:
        providers = ", ".join(found["onnxruntime"])
        checks.append(Check("onnxruntime", "ok", f"loads; providers: {providers}"))
    else:
        checks.append(Check("onnxruntime", "broken", str(found.get("onnxruntime error")), remedy))
    return checks


def onnxruntime_once() -> Check:
    """onnxruntime and onnxruntime-gpu write the same files; the one installed last wins."""
    both = [name for name in ("onnxruntime", "onnxruntime-gpu") if packages.installed(name)]
    if len(both) < 2:
        return Check("onnxruntime package", "ok", f"{', '.join(both) or 'none'}, one as it should")
    return Check(
        "onnxruntime package",
        "note",
        "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files",
        "pip uninstall onnxruntime onnxruntime-gpu, then install the one you want",
    )


def gpu() -> Check:
    """Whether TensorFlow trains on a GPU, and why not."""
    found = [path for trace in NVIDIA_TRACES for path in sorted(Path("/").glob(trace[1:]))]
    if not found:
        return Check("GPU", "ok", "none: no NVIDIA device or driver here; training uses the CPU")
    if packages.installed("tensorflow") is None:
        return Check(
            "GPU",
            "note",
            f"{found[0]} is here, and no TensorFlow to use a GPU",
            "pip install 'toolchain[train,gpu]'",
        )
    if os.environ.get(HIDING, "0") in ("", "-1"):
        hidden = f"{HIDING} hides the NVIDIA devices here; training uses the CPU"
        return Check("GPU", "note", hidden, f"unset {HIDING} to train on a GPU")
    seen = in_child(_GPUS)
    if isinstance(seen, str):
        return Check("GPU", "note", f"not known: {seen}", "try: python -c 'import tensorflow'")
    if seen:
        copies = ", a copy of the network on each" if len(seen) > 1 else ""
        return Check("GPU", "ok", f"TensorFlow trains on {', '.join(map(str, seen))}{copies}")
    return Check(
        "GPU",
        "note",
        f"{found[0]} is here and TensorFlow sees no GPU (its CUDA libraries are missing or do not "
        "load); training uses the CPU",
        "pip install 'toolchain[train,gpu]', and check the driver with nvidia-smi",
    )


def workers(told: str) -> list[Check]:
    """Whether training waits for other machines; nothing where TF_CONFIG is not set."""
    if not told:
        return []
    try:
        cluster = Workers.of(told)
    except MachineError as error:
        return [Check(WORKERS, "broken", f"training cannot use it: {error.what}", error.remedy)]
    if not cluster.others:
        return [Check(WORKERS, "ok", "names this machine alone")]
    found = f"training waits for the other workers: {', '.join(cluster.others.values())}"
    return [Check(WORKERS, "note", found, f"unset {WORKERS} to train on this machine alone")]


def processor() -> Check:
    """Name, cores and the instruction sets that matter for int8."""
    from toolchain.benchmark import machine

    facts = machine.describe()
    cores = facts["logical cores"]
    return Check(
        "processor", "ok", f"{facts['processor']}, {cores} cores, {facts['processor flags']}"
    )


def memory() -> Check:
    """Memory of the machine and what is free of it."""
    import psutil

    now = psutil.virtual_memory()
    return Check(
        "memory", "ok", f"{now.total / 2**30:.1f} GiB, {now.available / 2**30:.1f} GiB available"
    )


def disk(folder: Path) -> Check:
    """Room where the runs will be written."""
    free = shutil.disk_usage(folder).free / _MIB
    found = f"{free / 1024:.1f} GiB free in this folder"
    if free < LEAST_DISK_MIB:
        return Check("disk", "broken", found, f"free at least {LEAST_DISK_MIB} MiB")
    if free < COMFORTABLE_DISK_MIB:
        return Check("disk", "note", found, "large datasets may not fit")
    return Check("disk", "ok", found)


def data_folder(named: str) -> Check:
    """TOOLCHAIN_DATA: where datasets and weights are looked for before anything is downloaded."""
    if not named:
        return Check("TOOLCHAIN_DATA", "ok", "not set; it may name a folder of datasets/, weights/")
    root = expanded(named)
    if not root.is_dir():
        return Check("TOOLCHAIN_DATA", "note", f"{named} is no folder", "correct or unset it")
    counts = [f"{part}/ {_count(root / part)}" for part in ("datasets", "weights")]
    return Check("TOOLCHAIN_DATA", "ok", f"{named}: {', '.join(counts)}")


def _count(folder: Path) -> str:
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return f"{sum(not name.startswith('.') for name in names)} entries"


def weights() -> Check:
    """Backbones that a run can start from without a download."""
    folders = [Path(os.environ.get("KERAS_HOME") or expanded("~/.keras")) / "models"]
    if named := os.environ.get("TOOLCHAIN_DATA"):
        folders.insert(0, expanded(named) / "weights")
    found = [embedded_backbone().name] if embedded_backbone().is_file() else []
    for folder in folders:
        with contextlib.suppress(OSError):
            found += sorted(path.name for path in folder.iterdir() if path.suffix in _WEIGHTS)
    if not found:
        return Check(
            "weights",
            "note",
            "none at hand: the first run downloads them, or set model.weights",
            "see: toolchain keys model.weights",
        )
    return Check("weights", "ok", ", ".join(found))


def in_child(code: str) -> Any:
    """What a Python child prints as JSON, or why it printed none, in words.

    Args:
      code: of ours, never of a user; it runs with -P so that no file of the working folder is
        imported in place of a package.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            capture_output=True,
            timeout=CHILD_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {CHILD_TIMEOUT_S:.0f} s"
    if done.returncode < 0:
        return f"crashed with signal {-done.returncode}"
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return last[0] if last else f"ended with {done.returncode} and said nothing"
