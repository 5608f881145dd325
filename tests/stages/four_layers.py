"""A network with one layer of every kind, as a graph, and its files of integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from networks import photos

from toolchain.contract import Contract, TensorSpec
from toolchain.export.onnx import to_onnx
from toolchain.export.tflite import convert
from toolchain.images.preprocess import Preprocessing, normalise
from toolchain.quantization.graph import Affine, Graph, Node
from toolchain.runtimes import open_runner
from toolchain.training.batches import Examples

# Of a probability, between a file and the same integers: softmax in another place.
TOLERANCE = 1e-5
SIZE, CLASSES = 12, 3
WAY = Preprocessing.of("symmetric", SIZE)


def network() -> Graph:
    """Every kind of layer, a fused activation, a sum, and bytes that are passed on."""
    random = np.random.default_rng(5)
    shapes = {
        "conv": (3, 3, 3, 8),
        "deep": (3, 3, 8, 1),
        "project": (1, 1, 8, 8),
        "logits": (6 * 6 * 8, CLASSES),
    }
    arrays = {}
    for name, shape in shapes.items():
        inputs = np.prod(shape[:2] if name == "deep" else shape[:-1])
        channels = 8 if name == "deep" else shape[-1]
        arrays[f"{name}/kernel"] = random.normal(size=shape) * 1.4 / np.sqrt(inputs)
        arrays[f"{name}/bias"] = random.normal(size=channels) * 0.1
    nodes = (
        Node("conv", "conv", ("image",)),
        Node("conv_relu", "relu6", ("conv",)),
        Node("deep", "depthwise", ("conv_relu",)),
        Node("deep_relu", "relu6", ("deep",)),
        Node("project", "conv", ("deep_relu",)),
        Node("sum", "add", ("conv_relu", "project")),
        Node("pool", "max_pool", ("sum",), 2, "valid"),
        Node("flat", "flatten", ("pool",)),
        Node("logits", "dense", ("flat",)),
    )
    return Graph(SIZE, nodes, {name: value.astype(np.float32) for name, value in arrays.items()})


def prepare(pixels, seed, training):
    return (pixels - np.float32(WAY.mean)) / np.float32(WAY.std)


PIXELS = photos(32, SIZE)
EXAMPLES = Examples(PIXELS, np.zeros(32, np.int64), np.arange(32))


def contract_of(names: tuple[str, ...]) -> Contract:
    return Contract(
        name="x",
        format="onnx",
        precision="int8-qat",
        labels=("a", "b", "c"),
        preprocessing=WAY,
        input=TensorSpec("image", (-1, SIZE, SIZE, 3), "float32"),
        output=TensorSpec("probabilities", (-1, CLASSES), "float32"),
        lineage={},
        float_layers=names,
    )


def written(folder: Path, kind: str, graph: Graph, ranges: dict[str, Affine]) -> Path:
    path = folder / f"x.int8-qat.{kind}"
    if kind == "onnx":
        path.write_bytes(to_onnx(graph, ranges, contract_of(graph.float_layers()), 17))
    else:
        path.write_bytes(convert(graph, ranges, "float32"))
    return path


def answers(path: Path) -> np.ndarray:
    if path.suffix == ".onnx":
        return open_runner(path).run(PIXELS)
    run = Interpreter(str(path)).get_signature_runner()
    images = normalise(PIXELS, WAY)
    return np.concatenate([run(image=one[None])["probabilities"] for one in images])
