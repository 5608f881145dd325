"""benchmark_on_phone.py with a stand-in for adb that answers as a phone would."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# In the form of LiteRT's benchmark_model of 2025; the figures are made up.
PRINTED = """\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Min num runs: [200]
INFO: Num threads: [{threads}]
INFO: Graph: [{graph}]
INFO: #threads used for CPU inference: [{threads}]
INFO: Loaded model {graph}
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: The input model file size (MB): 0.001234
INFO: Initialized session in 1.234ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if \
exceeding 150 seconds.
INFO: count=4000 first=310 curr=120 min=110 max=310 avg=121.5 std=6 p5=115 median=120 p95=131

INFO: Running benchmark for at least 200 iterations and at least 1 seconds but terminate if \
exceeding 150 seconds.
INFO: count=8000 first=121 curr=119 min=109 max=240 avg=120.2 std=5 p5=114 median=119 p95=130

INFO: Inference timings in us: Init: 1234, First inference: 310, Warmup (avg): 121.5, \
Inference (avg): 120.2
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only \
APPROXIMATE to the actual memory footprint of the model at runtime. Take the information at your \
discretion.
INFO: Memory footprint delta from the start of the tool (MB): init=1.5 overall=4.25
"""
ADB = """\
#!{python}
import json, re, sys
from pathlib import Path

arguments = sys.argv[1:]
with Path({calls!r}).open("a") as log:
    log.write(json.dumps(arguments) + "\\n")
if arguments[:2] == ["-s", "P1"]:
    arguments = arguments[2:]
properties = {{
    "ro.product.manufacturer": "Maker", "ro.product.model": "Model 7",
    "ro.build.version.release": "16", "ro.soc.manufacturer": "Chips", "ro.soc.model": "C-1",
}}
command = " ".join(arguments)
if command == {fails!r}:
    sys.stderr.write("error: no devices/emulators found\\n")
    sys.exit(1)
if "getprop" in command:
    print(properties[command.split()[-1]])
if "--graph=" in command:
    graph = re.search(r"--graph=(\\S+)", command)[1]
    threads = re.search(r"--num_threads=(\\d+)", command)[1]
    print({printed!r}.format(graph=graph, threads=threads), end="")
"""


class Stand:
    """A folder with the stand-in `adb`, a binary to push, and what was asked of adb."""

    def __init__(self, folder: Path, bundle: Path, fails: str = "") -> None:
        self.folder, self.bundle = folder, bundle
        self._calls = folder / "calls.jsonl"
        self._calls.touch()
        (folder / "bin").mkdir()
        adb = folder / "bin" / "adb"
        adb.write_text(
            ADB.format(python=sys.executable, calls=str(self._calls), fails=fails, printed=PRINTED)
        )
        adb.chmod(0o755)
        (folder / "benchmark_model").write_bytes(b"\x7fELF")

    def run(self, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, self.bundle / "benchmark_on_phone.py", *arguments]
        environment = {"PATH": str(self.folder / "bin") if path is None else path}
        return subprocess.run(
            list(map(str, command)),
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in self._calls.read_text().splitlines()]


@pytest.fixture
def stand(tmp_path: Path, unpacked) -> Stand:
    return Stand(tmp_path, unpacked("android").folder)


def test_the_model_is_pushed_timed_and_removed(stand: Stand) -> None:
    done = stand.run("--binary", "benchmark_model", "--threads", "1", "4")
    assert done.returncode == 0, done.stderr
    folder = "/data/local/tmp/toolchain-benchmark"
    model = "tiny.int8-qat.tflite"
    told = [call for call in stand.calls if "getprop" not in " ".join(call)]
    assert told == [
        ["shell", f"mkdir -p {folder}"],
        ["push", "benchmark_model", f"{folder}/benchmark_model"],
        ["push", str(stand.bundle / model), f"{folder}/{model}"],
        ["shell", f"chmod 755 {folder}/benchmark_model"],
        *(
            [
                "shell",
                f"{folder}/benchmark_model --graph={folder}/{model} --num_threads={threads} "
                "--num_runs=200",
            ]
            for threads in (1, 4)
        ),
        ["shell", f"rm -rf {folder}"],
    ]
    assert done.stdout.count("Inference (avg): 120.2") == 2


def test_the_log_says_which_phone_and_all_that_was_printed(stand: Stand) -> None:
    assert stand.run("--binary", "benchmark_model", "--serial", "P1").returncode == 0
    assert all(call[:2] == ["-s", "P1"] for call in stand.calls)
    log = (stand.folder / "phone.log").read_text()
    head = log.splitlines()[:5]
    assert head[:3] == ["phone: Maker Model 7", "android: 16", "processor: Chips C-1"]
    assert head[3].startswith("date: 20")
    assert head[4] == "command: benchmark_on_phone.py --binary benchmark_model --serial P1"
    assert "median=119" in log


def test_the_log_is_read_as_that_phones_row(stand: Stand) -> None:
    phone_log = pytest.importorskip("toolchain.benchmark.phone_log")
    assert stand.run("--binary", "benchmark_model", "--threads", "1", "4").returncode == 0
    made = phone_log.read_phone_log((stand.folder / "phone.log").read_text(), "phone.log")
    assert made.machine["phone"] == "Maker Model 7"
    assert [(row.file, row.threads) for row in made.measurements] == [
        ("tiny.int8-qat.tflite", 1),
        ("tiny.int8-qat.tflite", 4),
    ]
    assert made.measurements[0].latency.p50_ms.value == pytest.approx(0.119)


def test_without_adb_it_says_where_adb_comes_from(stand: Stand) -> None:
    done = stand.run("--binary", "benchmark_model", path="/nowhere")
    assert done.returncode == 1
    assert "adb is not on the PATH; it comes with Android's platform tools" in done.stderr


def test_without_a_phone_it_says_what_adb_said(tmp_path: Path, unpacked) -> None:
    fails = "shell getprop ro.product.manufacturer"
    done = Stand(tmp_path, unpacked("android").folder, fails).run("--binary", "benchmark_model")
    assert done.returncode == 1
    assert "no devices/emulators found" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "phone.log").exists()


def test_a_run_that_breaks_leaves_nothing_on_the_phone(tmp_path: Path, unpacked) -> None:
    folder = "/data/local/tmp/toolchain-benchmark"
    stand = Stand(tmp_path, unpacked("android").folder, f"shell chmod 755 {folder}/benchmark_model")
    assert stand.run("--binary", "benchmark_model").returncode == 1
    assert stand.calls[-1] == ["shell", f"rm -rf {folder}"]


def test_a_missing_binary_is_told_before_the_phone_is_asked(stand: Stand) -> None:
    done = stand.run("--binary", "nothing")
    assert done.returncode == 1
    assert "expected a file, found none: nothing" in done.stderr
    assert stand.calls == []
