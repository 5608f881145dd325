"""TensorFlow's own post-training quantization, as its guide has it: float model in, int8 out."""

from __future__ import annotations

from pathlib import Path

from peers.inputs import Inputs


def make(inputs: Inputs, out: Path) -> None:
    import tensorflow as tf

    converter = inputs.converter(inputs.keras_model())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([one[None]] for one in inputs.calibration)
    (out / "converter-ptq.tflite").write_bytes(converter.convert())
