"""onnxruntime's quantize_static: QDQ, U8 activations, S8 weights per channel, after pre-process."""

from __future__ import annotations

import tempfile
from pathlib import Path

from peers.inputs import Inputs


def make(inputs: Inputs, out: Path) -> None:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Photos(CalibrationDataReader):
        def __init__(self) -> None:
            self._photos = iter(inputs.calibration)

        def get_next(self):
            photo = next(self._photos, None)
            return None if photo is None else {inputs.contract.input.name: photo[None]}

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(inputs.float_onnx), str(prepared))
        quantize_static(
            str(prepared),
            str(out / "quantize-static.onnx"),
            Photos(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
