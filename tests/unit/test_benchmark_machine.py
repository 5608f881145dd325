"""What a report says about the machine, and what it must not say."""

from __future__ import annotations

import getpass
import platform
import re
import socket
import sys

from toolchain.benchmark import machine


def test_it_names_what_decides_the_numbers() -> None:
    facts = machine.describe()
    assert facts["python"] == platform.python_version()
    assert facts["processor"]
    assert int(facts["logical cores"]) >= 1
    assert float(facts["memory"].removesuffix(" GiB")) > 0
    assert re.fullmatch(r"\d+\.\d\d \d+\.\d\d \d+\.\d\d", facts["load at start"])
    assert {"numpy", "onnxruntime", "ai-edge-litert"} <= facts.keys()


def test_it_names_no_person_and_no_place() -> None:
    words = set(re.split(r"[\s,;()]+", " ".join(machine.describe().values())))
    assert socket.gethostname() not in words
    assert getpass.getuser() not in words
    assert not [word for word in words if word.startswith(("/", "~"))]


def test_versions_are_read_without_importing_the_packages() -> None:
    before = set(sys.modules)
    machine.versions()
    loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
    assert not loaded & {"tensorflow", "onnxruntime", "ai_edge_litert"}


def test_a_machine_without_cpuinfo_is_described_all_the_same(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "none")
    facts = machine.describe()
    assert facts["processor"]
    assert facts["processor flags"] == "unknown"


def test_arm_names_its_features_otherwise(monkeypatch, tmp_path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "processor\t: 0\nFeatures\t: fp asimd evtstrm asimddp i8mm\n\nprocessor\t: 1\n"
    )
    monkeypatch.setattr(machine, "_CPUINFO", cpuinfo)
    assert machine.describe()["processor flags"] == "asimd asimddp i8mm"
