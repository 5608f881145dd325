"""The child process that makes one peer's files: `python -m peers.build PEER RUN RECIPE OUT`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from peers.inputs import Inputs

MODULES = {
    "tflite-converter": "peers.tflite_converter",
    "onnxruntime": "peers.onnxruntime_static",
    "ai-edge-quantizer": "peers.edge_quantizer",
    "nncf": "peers.nncf_openvino",
    "tfmot": "peers.tfmot_qat",
}


def main() -> None:
    peer, run, recipe, out = sys.argv[1:]
    inputs = Inputs.of(Path(run), Path(recipe))
    importlib.import_module(MODULES[peer]).make(inputs, Path(out))


if __name__ == "__main__":
    main()
