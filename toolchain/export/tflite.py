"""Graph -> TFLite, float or integer, through TensorFlow's converter; then finished by `finish`."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras

from toolchain.contract import METADATA_KEY, Contract
from toolchain.export.flatbuffer import embed, finish
from toolchain.export.task_metadata import BUFFER, append_labels, task_metadata
from toolchain.quantization.fold import to_keras
from toolchain.quantization.graph import IMAGE, WITH_WEIGHTS, Affine, Graph, Node
from toolchain.quantization.qat import qat_model


def convert(
    graph: Graph,
    ranges: dict[str, Affine] | None,
    io: str,
    output: str = "probabilities",
    kernels: str = "float32",
) -> bytes:
    """The graph as a TFLite file with one signature, batch 1 (a runtime may resize it).

    Input "image": [1, size, size, 3], float32 normalised, or uint8 raw RGB. Output
    "probabilities" or "logits": [1, classes], float32 or uint8.

    Args:
      graph: folded network.
      ranges: one a name of `range_points`; None writes a float file.
      io: "float32" or "uint8" for an integer file; a float file is always float32.
      output: "probabilities" or "logits".
      kernels: what a float file stores its kernels as. float16 computes as float32 does; with
        int8 the runtime quantizes each activation when it meets one (dynamic range).
    """
    model = to_keras(graph) if ranges is None else qat_model(graph, ranges, _apart)
    converter = _converter(model, graph.size, output)
    if ranges is not None or kernels != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kernels == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if ranges is not None and io == "uint8":
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.uint8
    return finish(converter.convert())


def carry(data: bytes, contract: Contract) -> bytes:
    """The file with its contract inside, once for us and once as TFLite Metadata."""
    own, tasks = contract.dumps().encode(), task_metadata(contract)
    return append_labels(embed(data, {METADATA_KEY: own, BUFFER: tasks}), contract)


def _apart(layer: Any, node: Node | None) -> Any:
    """The layer, read through `flatbuffer.BARRIER` where it is to stay float.

    The converter computes in integers whatever stands between two rounded tensors, and quantizes
    the kernel itself where nothing says how.
    """
    if node is None or not (node.is_float and node.op in WITH_WEIGHTS):
        return layer
    return lambda given: layer(tf.sin(given))


def _converter(model: tf_keras.Model, size: int, output: str) -> Any:
    def classify(image: Any) -> dict[str, Any]:
        logits = model(image, training=False)
        # A signature's output must be a tensor of its own, hence the identity.
        return {output: tf.nn.softmax(logits) if output == "probabilities" else tf.identity(logits)}

    # Batch 1, because web runtimes refuse a dynamic batch; others resize the input.
    spec = tf.TensorSpec([1, size, size, 3], tf.float32, name=IMAGE)
    function = tf.function(classify, autograph=False).get_concrete_function(spec)
    # The converter saves this first. Of a Keras model that would trace every layer several times
    # over: with a module that merely holds the weights the files are the same and take a third of
    # the time.
    holder = tf.Module()
    holder.weights = model.weights
    return tf.lite.TFLiteConverter.from_concrete_functions([function], holder)
