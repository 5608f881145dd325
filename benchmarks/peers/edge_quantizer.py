"""Google's ai-edge-quantizer: its static int8 recipe on TensorFlow's conversion.

Not on our own fp32 .tflite: the quantizer empties the metadata that ours carries.
"""

from __future__ import annotations

from pathlib import Path

from peers.inputs import Inputs


def make(inputs: Inputs, out: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import qtyping, quantizer, recipe

    source = inputs.converter(inputs.keras_model()).convert()
    worker = quantizer.Quantizer(source, recipe.static_wi8_ai8())
    # Float at both ends, as the other files have it.
    for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        worker.update_quantization_recipe(
            regex=".*", operation_name=end, algorithm_key=quantizer.AlgorithmName.NO_QUANTIZE
        )
    found = Interpreter(model_content=source).get_signature_list()
    ((signature, tensors),) = found.items()
    samples = [{tensors["inputs"][0]: one[None]} for one in inputs.calibration]
    ranges = worker.calibrate({signature: samples}, num_threads=1)
    worker.quantize(ranges).export_model(str(out / "ai-edge-quantizer.tflite"))
