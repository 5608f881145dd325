"""Whether a machine is called quiet or noisy, and whether the numbers behind it are right."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from toolchain.benchmark import noise

QUIET = {"drifted": 0.0, "spread_out": 0.0, "steal": 0.0, "others": 0.0, "load": (0.1, 0.2)}


def test_a_machine_with_nothing_else_to_do_is_quiet() -> None:
    found = noise.judge(**QUIET)
    assert (found.verdict, found.reasons) == ("quiet", ())
    assert found.load == (0.1, 0.2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"drifted": 0.2}, "took 20% longer at the end"),
        ({"drifted": -0.2}, "took 20% shorter at the end"),
        ({"spread_out": 0.3}, "varied by 30% between the rounds"),
        ({"steal": 0.05}, "hypervisor gave 5.0%"),
        ({"others": 1.5}, "other programs kept 1.5 processors busy"),
    ],
)
def test_each_kind_of_noise_is_named(change: dict[str, float], said: str) -> None:
    found = noise.judge(**{**QUIET, **change})
    assert found.verdict == "noisy"
    (reason,) = found.reasons
    assert said in reason


def test_everything_that_is_wrong_is_said() -> None:
    found = noise.judge(0.2, 0.3, 0.05, 1.5, (3.0, 4.0))
    assert len(found.reasons) == 4


def test_drift_is_the_last_third_against_the_first() -> None:
    assert noise.drift([1.0] * 9) == 0.0
    assert noise.drift([1.0, 1.0, 1.0, 9.0, 9.0, 9.0, 1.2, 1.2, 1.2]) == pytest.approx(0.2)
    assert noise.drift([1.0, 2.0]) == 0.0


def test_spread_is_that_of_the_middle_half() -> None:
    assert noise.spread([]) == 0.0
    assert noise.spread([1.0] * 9 + [50.0]) == 0.0
    assert noise.spread(list(np.linspace(0.9, 1.1, 101))) == pytest.approx(0.1)


def test_ones_own_work_and_that_of_ones_children_is_not_the_others() -> None:
    burn = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    before = noise.processors()
    subprocess.run([sys.executable, "-c", burn], check=True)
    child = subprocess.Popen([sys.executable, "-c", burn + "\ntime.sleep(20)"])
    try:
        deadline = time.monotonic() + 15
        while noise.processors().own - before.own < 0.55 and time.monotonic() < deadline:
            time.sleep(0.05)
        after = noise.processors()
    finally:
        child.kill()
        child.wait()
    assert after.own - before.own >= 0.55
    assert after.total > before.total
    assert after.busy - before.busy >= 0.5 * (after.own - before.own)


def test_a_watch_gives_finite_numbers_without_a_single_tick() -> None:
    found = noise.Watch().noise()
    assert (found.drift, found.spread) == (0.0, 0.0)
    assert found.others >= 0
    assert 0 <= found.steal <= 1


def test_work_that_becomes_slower_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    watch, times = noise.Watch(), iter(np.repeat([1.0, 1.0, 1.3], 5 * noise._REPEATS))
    monkeypatch.setattr(watch, "_once", lambda: float(next(times)))
    for _ in range(15):
        watch.tick()
    found = watch.noise()
    assert found.drift == pytest.approx(0.3)
    assert found.verdict == "noisy"
