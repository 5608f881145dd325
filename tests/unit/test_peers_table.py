"""The table of our int8 files beside other quantizers', from made-up timings."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from peers import table as module

    return module


def result(backbone: str) -> dict[str, Any]:
    """Ours takes half of the time of fp32, the peer's as long as ours."""
    files = ("x.fp32.onnx", "x.int8-qat.onnx", "quantize-static.onnx")
    p50 = {"value": 1.0, "low": 0.9, "high": 1.1}
    rows = [
        {"file": file, "runtime": "onnxruntime", "bytes": 100, "latency": {"p50_ms": p50}}
        for file in files
    ]
    half = {"value": 0.5, "low": 0.45, "high": 0.55}
    ratios = [{"row": 1, "other": 0, "ratio": half}, {"row": 1, "other": 2, "ratio": p50}]
    quality = {"value": 0.98, "low": 0.96, "high": 0.99, "agreement": 1.0}
    return {
        "name": "x",
        "backbone": backbone,
        "date": "2026-11-27",
        "versions": {},
        "calibration": 64,
        "images": 100,
        "command": "again",
        "quality": dict.fromkeys(files, quality),
        "missing": {},
        "benchmark": {
            "machine": {"processor": "p", "logical cores": "2", "processor flags": "avx2"},
            "noise": {"verdict": "quiet", "reasons": []},
            "measurements": rows,
            "comparisons": ratios,
        },
    }


@pytest.mark.parametrize(
    ("backbone", "bar", "verdict"),
    [("mobilenet_v2", "0.6", "held"), ("vgg16", "0.33", "missed"), ("cnn", "no bar", "")],
)
def test_a_backbone_has_its_own_bar_or_none(table, backbone, bar, verdict) -> None:
    text = table.markdown(result(backbone))
    expected = f"| int8 .onnx against fp32 .onnx | {bar} | 0.500 | 0.450 to 0.550 | {verdict} |"
    assert expected in text
    against = "| int8 .onnx against quantize_static | 1.03 | 1.000 | 0.900 to 1.100 |"
    assert f"{against} held, but the interval holds the bar |" in text
