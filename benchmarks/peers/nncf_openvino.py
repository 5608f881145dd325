"""OpenVINO's NNCF: post-training int8 of our fp32 .onnx, run by OpenVINO in a child process."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from peers.inputs import Inputs
from toolchain.contract import parse_contract
from toolchain.runtimes.base import to_input, to_probabilities
from toolchain.runtimes.worker import serve_runner

WORKER = "peers.nncf_openvino"


def make(inputs: Inputs, out: Path) -> None:
    import nncf
    import openvino

    model = openvino.Core().read_model(inputs.float_onnx)
    photos = nncf.Dataset([one[None] for one in inputs.calibration])
    quantized = nncf.quantize(model, photos, subset_size=len(inputs.calibration))
    path = out / "openvino-nncf.xml"
    path.with_suffix(".json").write_text(inputs.contract.dumps())
    openvino.save_model(quantized, path, compress_to_fp16=False)


class OpenvinoRunner:
    """An .xml with its .bin; beside it lies the contract of the .onnx that it came from."""

    runtime = "openvino"
    provider = "cpu"

    def __init__(self, path: Path, *, threads: int = 1, provider: str = "cpu") -> None:
        import openvino

        self.nodes: dict[str, int] = {}
        self._path = path
        self.contract = parse_contract(path.with_suffix(".json").read_text(), str(path))
        started = time.perf_counter_ns()
        core = openvino.Core()
        settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        self._model = core.compile_model(core.read_model(path), "CPU", settings)
        self.load_ms = (time.perf_counter_ns() - started) / 1e6

    def takes(self, batch: int) -> bool:
        return batch == 1

    def run(self, pixels):
        ones = to_input(pixels, self.contract)
        raw = np.concatenate([self.run_tensor(one[None]) for one in ones])
        return to_probabilities(raw, self.contract, str(self._path))

    def run_tensor(self, tensor):
        # The result's buffer is used again by the next inference.
        return np.array(self._model(tensor)[0])

    def close(self) -> None:
        del self._model


if __name__ == "__main__":
    serve_runner(OpenvinoRunner)
