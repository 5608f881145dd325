"""`toolchain doctor` on this machine, and on machines that lack something."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import namedtuple
from fnmatch import fnmatch
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from toolchain.cli import checks, packages
from toolchain.cli.doctor import doctor
from toolchain.errors import ExitCode, MachineError

MOST_SECONDS = 5.0
app = typer.Typer()
app.command()(doctor)
app.command("second")(lambda: None)


def run(*options: str):
    return CliRunner().invoke(app, ["doctor", *options])


def named(rows: list[dict[str, str]], name: str) -> dict[str, str]:
    return next(row for row in rows if row["name"] == name)


def test_this_machine_works_and_the_answer_is_quick() -> None:
    started = time.monotonic()
    result = run("--json")
    assert time.monotonic() - started < MOST_SECONDS
    assert result.exit_code == ExitCode.DONE
    answer = json.loads(result.stdout)
    assert answer["ok"] is True
    assert named(answer["checks"], "Python")["found"] == ".".join(map(str, sys.version_info[:3]))
    assert "CPUExecutionProvider" in named(answer["checks"], "onnxruntime")["found"]
    assert named(answer["checks"], "litert")["state"] == "ok"


def test_it_imports_no_tensorflow() -> None:
    script = (
        "import sys; from toolchain.cli.checks import all_checks; all_checks();"
        "import json; print(json.dumps('tensorflow' in sys.modules))"
    )
    assert checks.in_child(script) is False


def test_something_broken_ends_with_4_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = checks.Check("litert", "broken", "no such wheel", "pip install ai-edge-litert")
    monkeypatch.setattr(checks, "all_checks", lambda: [checks.python(), broken])
    result = run("--json")
    assert isinstance(result.exception, MachineError)
    assert result.exception.exit_code == 4
    text = str(result.exception)
    assert "litert" in text
    assert "pip install ai-edge-litert" in text
    assert len(text.splitlines()) <= 3
    assert json.loads(result.stdout)["ok"] is False


def test_a_missing_base_package_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        packages, "installed", lambda name: None if name == "onnxruntime" else "999.0"
    )
    found = checks.base_packages()
    assert found.state == "broken"
    assert "onnxruntime missing" in found.found
    assert "pip install" in found.remedy


def test_an_old_base_package_is_broken_and_both_versions_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packages, "installed", lambda name: "1.2" if name == "numpy" else "999.0")
    found = checks.base_packages()
    assert found.state == "broken"
    assert "numpy 1.2 (known to work: >=" in found.found


def test_a_machine_without_the_train_extra_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    real = packages.installed
    monkeypatch.setattr(
        packages, "installed", lambda name: None if "tensorflow" in name else real(name)
    )
    found = checks.train_extra()
    assert found.state == "note"
    assert "toolchain[train]" in found.remedy


def test_two_onnxruntimes_are_a_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "installed", lambda _: "1.31.1")
    found = checks.onnxruntime_once()
    assert found.state == "note"
    assert "pip uninstall" in found.remedy


def test_a_runtime_that_does_not_load_is_broken() -> None:
    told = {"onnxruntime": ["CPUExecutionProvider"], "litert error": "ImportError: libfoo.so"}
    states = {check.name: check for check in checks.runtimes(told)}
    assert states["litert"].state == "broken"
    assert "libfoo.so" in states["litert"].found
    assert states["onnxruntime"].state == "ok"


def test_a_child_that_crashes_is_told_in_words() -> None:
    why = checks.in_child("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert why == "crashed with signal 11"
    assert {check.state for check in checks.runtimes(why)} == {"broken"}


def test_a_child_that_hangs_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CHILD_TIMEOUT_S", 0.2)
    assert "no answer" in checks.in_child("import time; time.sleep(30)")


def test_a_file_in_the_working_folder_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    assert checks.in_child("import json; print(json.dumps(1))") == 1


def test_no_nvidia_device_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "NVIDIA_TRACES", (f"{tmp_path}/nvidia[0-9]*",))
    (tmp_path / "nvidia-modeset").touch()
    assert "no NVIDIA device" in checks.gpu().found


@pytest.fixture
def nvidia(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidia3").touch()
    monkeypatch.setattr(checks, "NVIDIA_TRACES", (f"{tmp_path}/nvidia[0-9]*",))
    monkeypatch.setattr(packages, "installed", lambda _: "2.21.0")
    monkeypatch.delenv(checks.HIDING, raising=False)


@pytest.mark.usefixtures("nvidia")
def test_a_device_that_tensorflow_does_not_see_is_explained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks, "in_child", lambda _: [])
    found = checks.gpu()
    assert found.state == "note"
    assert "CUDA libraries" in found.found
    assert "toolchain[train,gpu]" in found.remedy


@pytest.mark.parametrize("name", ["/dev/dxg", "/dev/nvidiactl", "/dev/nvidia7"])
def test_the_traces_of_wsl_and_of_later_devices_are_known(name: str) -> None:
    assert any(fnmatch(name, trace) for trace in checks.NVIDIA_TRACES)


@pytest.mark.usefixtures("nvidia")
def test_a_slow_import_is_not_taken_for_missing_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "in_child", lambda _: "no answer within 30 s")
    found = checks.gpu()
    assert (found.state, found.found) == ("note", "not known: no answer within 30 s")


@pytest.mark.usefixtures("nvidia")
@pytest.mark.parametrize("none", ["", "-1"])
def test_a_hidden_device_is_told_from_missing_libraries(
    none: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(checks.HIDING, none)
    monkeypatch.setattr(checks, "in_child", lambda _: [])
    found = checks.gpu()
    assert f"{checks.HIDING} hides" in found.found
    assert found.remedy.startswith("unset")


@pytest.mark.usefixtures("nvidia")
def test_a_device_that_tensorflow_sees_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "in_child", lambda _: ["/physical_device:GPU:0"])
    assert "/physical_device:GPU:0" in checks.gpu().found


@pytest.mark.usefixtures("nvidia")
def test_a_device_without_tensorflow_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "installed", lambda _: None)
    assert "no TensorFlow" in checks.gpu().found


@pytest.mark.parametrize(
    ("free_mib", "state"),
    [(checks.LEAST_DISK_MIB - 1, "broken"), (checks.LEAST_DISK_MIB + 1, "note"), (10**6, "ok")],
)
def test_a_full_disk_is_broken(
    free_mib: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")(0, 0, free_mib * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert checks.disk(tmp_path).state == state


def test_toolchain_data(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "photos.tar").touch()
    assert "not set" in checks.data_folder("").found
    assert "datasets/ 1 entries, weights/ missing" in checks.data_folder(str(tmp_path)).found
    assert checks.data_folder(str(tmp_path / "none")).state == "note"


def test_a_home_that_nobody_has_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    named = "~nobody-of-this-name/data"
    monkeypatch.setenv("TOOLCHAIN_DATA", named)
    assert checks.data_folder(named).state == "note"
    assert checks.weights().state == "ok"


def test_a_folder_of_data_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "datasets").touch()
    found = checks.data_folder(str(tmp_path)).found
    assert "datasets/ cannot be read (Not a directory)" in found
    assert "weights/ missing" in found


def test_weights_at_hand_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "mine.h5").touch()
    (tmp_path / "weights" / "readme.txt").touch()
    monkeypatch.setenv("TOOLCHAIN_DATA", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "none"))
    found = checks.weights()
    assert "mine.h5" in found.found
    assert "readme" not in found.found


def test_a_checkout_that_is_not_installed_reads_pyproject(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "PROJECT", "no-such-project-is-installed")
    base = {package.name for package in packages.packages()}
    train = {package.name for package in packages.packages("train")}
    assert {"numpy", "onnxruntime", "ai-edge-litert"} <= base
    assert "tensorflow" in train
    assert not base & train
    assert packages.python_wanted().startswith(">=3.")


def test_workers_of_a_cluster_are_told_of() -> None:
    assert checks.workers("") == []
    task = {"type": "worker", "index": 0}
    two = json.dumps({"cluster": {"worker": ["a:1", "b:2"]}, "task": task})
    (check,) = checks.workers(two)
    assert (check.name, check.state) == ("TF_CONFIG", "note")
    assert check.found.endswith("the other workers: b:2")
    assert "unset" in check.remedy
    (check,) = checks.workers(json.dumps({"cluster": {"worker": ["a:1"]}, "task": task}))
    assert (check.state, check.found) == ("ok", "names this machine alone")


@pytest.mark.parametrize("told", ["garbage", '{"cluster": {}}'])
def test_workers_that_training_refuses_are_broken(told: str) -> None:
    (check,) = checks.workers(told)
    assert check.state == "broken"
    assert "training cannot use it: expected" in check.found
