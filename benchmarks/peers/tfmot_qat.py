"""tfmot's QAT as its guide has it, untouched: to .tflite by the converter, to .onnx by tf2onnx."""

from __future__ import annotations

from pathlib import Path

from peers.inputs import Inputs


def make(inputs: Inputs, out: Path) -> None:
    import tensorflow as tf
    import tf_keras
    from tensorflow_model_optimization.quantization.keras import quantize_model

    model, settings = quantize_model(inputs.keras_model()), inputs.recipe.quantize
    model.compile(
        tf_keras.optimizers.Adam(settings.learning_rate),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    rows = inputs.dataset.indices("train")
    model.fit(
        inputs.normalised(rows),
        inputs.dataset.label_array()[rows],
        batch_size=inputs.recipe.train.batch_size,
        epochs=max(1, settings.epochs),
        verbose=2,
    )
    converter = inputs.converter(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    (out / "tfmot-qat.tflite").write_bytes(converter.convert())

    import tf2onnx

    classify = inputs.classifier(model)
    tf2onnx.convert.from_function(
        classify,
        input_signature=classify.input_signature,
        opset=17,
        output_path=str(out / "tf2onnx-qat.onnx"),
    )
