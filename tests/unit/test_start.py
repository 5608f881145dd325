"""Starting up: quick, and without TensorFlow wherever a model is only run."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

# 0.3 s on a quiet machine; test machines are noisy, and importing TensorFlow costs 2 s.
SECONDS_TO_HELP = 1.0
TRIES = 3
TENSORFLOW = ("tensorflow", "tf_keras", "keras", "tensorflow_model_optimization")
SLOW = (
    "scipy",
    "imagehash",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "ai_edge_litert",
    "sklearn",
    "h5py",
)


def modules_after(code):
    """Top-level modules that a fresh Python has loaded after running `code`."""
    code += "\nimport sys, json; print(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "room", ["runtimes", "inspection", "verification", "benchmark", "report", "data", "images"]
)
def test_what_stands_right_of_training_loads_no_tensorflow(room):
    code = f"""
import importlib, pkgutil, toolchain.{room} as room
for module in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
    importlib.import_module(module.name)
"""
    assert modules_after(code).isdisjoint(TENSORFLOW)


def test_the_command_line_loads_nothing_heavy():
    loaded = modules_after("import toolchain.cli.app")
    assert loaded.isdisjoint(TENSORFLOW + SLOW)


def test_help_answers_at_once():
    """In processor time: it is what waiting takes on a machine that runs other tests beside."""
    seconds = []
    for _ in range(TRIES):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "toolchain", "--help"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert "export" in done.stdout
    assert 0 < min(seconds) < SECONDS_TO_HELP


def test_no_arguments_is_help_not_a_traceback():
    done = subprocess.run(
        [sys.executable, "-m", "toolchain"], capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    assert "export" in done.stdout + done.stderr
