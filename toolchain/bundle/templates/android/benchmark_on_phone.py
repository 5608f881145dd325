"""Time the model beside this script on a connected phone, with Google's own benchmark_model.

    python benchmark_on_phone.py --binary android_aarch64_benchmark_model --threads 1 4

Needs adb (Android's platform tools), a phone with USB debugging on, and the tool's program for
that phone: https://ai.google.dev/edge/litert/models/measurement offers it ready built. It is
pushed to the phone with the model, run there and removed; all that it prints ends up in phone.log,
which `toolchain benchmark --import phone.log` puts beside your other machines.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = "/data/local/tmp/toolchain-benchmark"
# Line of the log -> the phone's properties that tell it.
FACTS = {
    "phone": ("ro.product.manufacturer", "ro.product.model"),
    "android": ("ro.build.version.release",),
    "processor": ("ro.soc.manufacturer", "ro.soc.model"),
}


class Phone:
    """A phone at the end of adb; every failed command ends the script with what adb said."""

    def __init__(self, serial: str) -> None:
        program = shutil.which("adb")
        if program is None:
            sys.exit("error: adb is not on the PATH; it comes with Android's platform tools")
        self._adb = [program, *(["-s", serial] if serial else [])]

    def adb(self, *arguments: str) -> str:
        """What adb printed, both streams in order."""
        done = subprocess.run(
            [*self._adb, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            sys.exit(f"error: adb {arguments[0]} failed:\n{done.stdout.strip()}")
        return done.stdout

    def shell(self, *arguments: str) -> str:
        """The same of a command on the phone; its words are quoted for the phone's shell."""
        return self.adb("shell", shlex.join(arguments))

    def facts(self) -> list[str]:
        """Lines that say which phone this is."""
        told = {
            name: " ".join(self.shell("getprop", key).strip() for key in keys).strip()
            for name, keys in FACTS.items()
        }
        return [f"{name}: {text}" for name, text in told.items() if text]


def measure(phone: Phone, binary: Path, model: Path, threads: list[int], runs: int) -> list[str]:
    """The tool's output for each number of threads; nothing stays on the phone."""
    phone.shell("mkdir", "-p", FOLDER)
    try:
        phone.adb("push", str(binary), f"{FOLDER}/benchmark_model")
        phone.adb("push", str(model), f"{FOLDER}/{model.name}")
        phone.shell("chmod", "755", f"{FOLDER}/benchmark_model")
        return [
            phone.shell(
                f"{FOLDER}/benchmark_model",
                f"--graph={FOLDER}/{model.name}",
                f"--num_threads={count}",
                f"--num_runs={runs}",
            )
            for count in threads
        ]
    finally:
        phone.shell("rm", "-rf", FOLDER)


def main() -> None:
    """Measure, and write the log."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, required=True, help="benchmark_model for the phone")
    parser.add_argument("--model", type=Path, default=Path(__file__).with_name("__MODEL_FILE__"))
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="one run a number")
    parser.add_argument("--runs", type=int, default=200, help="timed inferences, at least")
    parser.add_argument("--serial", default="", help="which phone, as adb devices names it")
    parser.add_argument("--out", type=Path, default=Path("phone.log"))
    given = parser.parse_args()
    for path in (given.binary, given.model):
        if not path.is_file():
            sys.exit(f"error: expected a file, found none: {path}")
    phone = Phone(given.serial)
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    command = shlex.join(["benchmark_on_phone.py", *sys.argv[1:]])
    head = [*phone.facts(), f"date: {now}", f"command: {command}"]
    logs = measure(phone, given.binary, given.model, given.threads, given.runs)
    given.out.write_text("\n".join([*head, *logs]), encoding="utf-8")
    timed = [line for log in logs for line in log.splitlines() if "Inference timings in us" in line]
    print(*timed, sep="\n")
    print(f"the whole log: {given.out}; next: toolchain benchmark --import {given.out}")


if __name__ == "__main__":
    main()
