"""The report stage reads a finished run and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

from finished_run import finished_run


def test_it_reads_a_run_and_leaves_three_files(tmp_path: Path) -> None:
    run = finished_run(tmp_path, page=True)
    folder = run.stage("report")
    names = {path.name for path in folder.iterdir()}
    assert names == {"report.html", "report.md", "report.json", "manifest.json"}
    page = (folder / "report.html").read_text()
    # 8 mistakes of which one is a flip too, 4 photos and 4 heat maps.
    assert page.count('src="data:image/jpeg') == 8 + 1 + 8


def test_lineage_goes_from_the_backbone_to_every_file(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    data = json.loads((run.stage("report") / "report.json").read_text())
    made = {link["what"]: link["made_from"] for link in data["lineage"]}
    assert list(made)[:5] == [
        "recipe",
        "photos and their split",
        "backbone's weights",
        "trained weights",
        "quantized weights",
    ]
    assert made["digits.fp32.onnx"] == "trained weights"
    assert made["digits.int8-qat.tflite"] == "quantized weights"
