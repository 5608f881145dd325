"""A file against its copy on this very machine: how often are they called different?"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tiny_tflite import write_float_tflite

from toolchain.benchmark.candidate import candidates
from toolchain.benchmark.harness import benchmark
from toolchain.benchmark.preparation import made_up
from toolchain.contract import ExportedModel
from toolchain.files import sha256_file
from toolchain.recipe.sections import BenchmarkSection
from toolchain.runtimes import read_contract

SESSIONS = 20
# Were one in twenty wrong, more than three of twenty would happen in 2 of 100 runs of this test.
MOST_FALSE_ALARMS = 3
SECTION = BenchmarkSection(batches=(1,), processes=5, runs=60, seconds=0.6, warmup_seconds=0.2)


@pytest.mark.slow
def test_a_file_and_its_copy_are_rarely_called_different(tmp_path: Path) -> None:
    files = [write_float_tflite(tmp_path, f"{name}.fp32.tflite") for name in ("one", "copy")]
    models = [ExportedModel(file, sha256_file(file), read_contract(file)) for file in files]
    verdicts = []
    for _ in range(SESSIONS):
        made = benchmark(candidates(models, SECTION), SECTION, {}, made_up(), command="")
        verdicts.append(made.comparisons[0].verdict)
    false_alarms = sum(one != "inconclusive" for one in verdicts)
    sys.stdout.write(f"{false_alarms} of {SESSIONS} sessions called a file and its copy different")
    assert false_alarms <= MOST_FALSE_ALARMS, f"{false_alarms} of {SESSIONS}"
