"""Every head that a recipe can ask for: what it computes, trains by, and becomes in the files."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
import tensorflow as tf
import tf_keras
from ai_edge_litert.interpreter import Interpreter
from networks import photos, randomise, recipe_of, softmax
from tf_keras import layers

from toolchain.contract import Contract, TensorSpec
from toolchain.errors import ModelError, RecipeError
from toolchain.export.onnx import to_onnx
from toolchain.export.tflite import convert
from toolchain.images.preprocess import Preprocessing, normalise
from toolchain.quantization.calibrate import calibrate
from toolchain.quantization.fold import fold, to_keras
from toolchain.quantization.graph import Graph
from toolchain.quantization.integers import IntegerNetwork
from toolchain.quantization.qat import qat_model
from toolchain.quantization.snap import snap
from toolchain.quantization.stage import quantize_model
from toolchain.recipe.sections import HeadSection
from toolchain.training.batches import Examples
from toolchain.training.head import build_on
from toolchain.training.network import build_network
from toolchain.training.stage import preparation
from toolchain.training.weights import variables

TOLERANCE = {
    # Against logits of about 1, and of probabilities.
    "folded": 1e-4,
    "fp32": 1e-4,
    # Of a cross-entropy in float32.
    "loss": 1e-5,
    # Simulation against float: mean difference of a probability.
    "rounded": 0.03,
    # File against the same integers.
    "int8": 1e-5,
}
SIZE = 8
WAY = Preprocessing.of("symmetric", SIZE)
# Name -> the head and how many classes it tells apart.
HEADS = {
    "plain": (HeadSection(), 5),
    "relu6": (HeadSection(dense=(12,), activation="relu6", dropout=(0.0, 0.5)), 5),
    "linear": (HeadSection(dense=(12, 6), activation="linear"), 5),
    "norm before": (HeadSection(dense=(12, 8), batch_norm="before"), 5),
    "norm after": (HeadSection(dense=(12, 8), batch_norm="after"), 5),
    "norm of a linear layer": (HeadSection((), (12,), "linear", "after"), 5),
    "one logit": (HeadSection(output="logit"), 2),
    "one logit on norm": (HeadSection(dense=(12,), batch_norm="after", output="logit"), 2),
}
SIGMOID = HeadSection(dense=(12,), output="sigmoid")


def network_of(head: HeadSection, classes: int) -> tf_keras.Model:
    """One convolution and the head, all weights random."""
    image = layers.Input((SIZE, SIZE, 3), name="image")
    features = layers.ReLU(name="relu")(layers.Conv2D(10, 3, padding="same", name="conv")(image))
    vector = layers.GlobalAveragePooling2D(name="head_pool")(features)
    model = tf_keras.Model(image, build_on(vector, head, classes))
    randomise(variables(model.layers))
    return model


class Case:
    """A network, its folded graph, and photos."""

    def __init__(self, head: HeadSection, classes: int) -> None:
        self.network = network_of(head, classes)
        self.graph = fold(self.network)
        self.pixels = photos(64, SIZE)
        self.images = normalise(self.pixels, WAY)
        self.logits = self.network(self.images, training=False).numpy()

    def rounded(self) -> tuple[Graph, dict]:
        rows = np.arange(len(self.pixels))
        examples = Examples(self.pixels, np.zeros(len(rows), np.int64), rows)
        ranges = calibrate(self.graph, examples, preparation(recipe_of(32)), WAY, "minmax")
        return snap(self.graph, ranges), ranges


@pytest.fixture(scope="module", params=HEADS)
def case(request) -> Case:
    return Case(*HEADS[request.param])


def in_onnx(graph: Graph, ranges: dict | None, classes: int, images: np.ndarray) -> np.ndarray:
    contract = Contract(
        name="x",
        format="onnx",
        precision="int8-qat" if ranges else "fp32",
        labels=tuple(map(str, range(classes))),
        preprocessing=WAY,
        input=TensorSpec("image", (-1, SIZE, SIZE, 3), "float32"),
        output=TensorSpec("probabilities", (-1, classes), "float32"),
        lineage={},
    )
    data = to_onnx(graph, ranges, contract, 17)
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images})[0]


def in_tflite(graph: Graph, ranges: dict | None, images: np.ndarray) -> np.ndarray:
    run = Interpreter(model_content=convert(graph, ranges, "float32")).get_signature_runner()
    return np.concatenate([run(image=one[None])["probabilities"] for one in images])


def test_folded_it_computes_the_same_with_layers_that_every_exporter_knows(case: Case) -> None:
    assert case.logits.std(axis=0).min() > 0.01
    found = to_keras(case.graph)(case.images).numpy()
    assert np.abs(found - case.logits).max() < TOLERANCE["folded"]
    ops = {node.op for node in case.graph.nodes}
    assert ops <= {"conv", "relu", "relu6", "mean", "dense"}


def test_a_unit_that_hardly_fires_does_not_leave_one_large_row() -> None:
    network = Case(*HEADS["norm after"]).network
    norm = [one for one in network.layers if isinstance(one, layers.BatchNormalization)][-1]
    norm.moving_variance.assign([1e-4, *norm.moving_variance.numpy()[1:]])
    images = normalise(photos(8, SIZE), WAY)
    graph = fold(network)
    expected = network(images, training=False).numpy()
    found = to_keras(graph)(images).numpy()
    assert np.abs(found - expected).max() < TOLERANCE["folded"] * np.abs(expected).max()
    rows = np.abs(graph.arrays["logits/kernel"]).max(axis=1)
    assert rows.max() < 12 * np.median(rows)


def test_rounded_it_answers_as_in_float_and_every_weight_can_be_trained(case: Case) -> None:
    graph, ranges = case.rounded()
    model = qat_model(graph, ranges)
    with tf.GradientTape() as tape:
        logits = model(case.images, training=True)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(np.zeros(64, np.int64), logits)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert len(gradients) == len(graph.arrays)
    assert all(np.any(gradient.numpy()) for gradient in gradients)
    difference = np.abs(softmax(logits.numpy()) - softmax(case.logits)).mean()
    assert difference < TOLERANCE["rounded"]
    file = in_onnx(graph, ranges, logits.shape[1], case.images)
    exact = softmax(IntegerNetwork(graph, ranges)(case.images).numpy())
    assert np.abs(file - exact).max() < TOLERANCE["int8"]


@pytest.mark.parametrize("name", ["linear", "one logit on norm"])
def test_the_int8_tflite_file_computes_the_same_integers(name: str) -> None:
    case = Case(*HEADS[name])
    graph, ranges = case.rounded()
    expected = softmax(IntegerNetwork(graph, ranges)(case.images).numpy())
    found = in_tflite(graph, ranges, case.images)
    assert np.abs(found - expected).max() < TOLERANCE["int8"]


def test_one_logit_answers_by_its_sigmoid() -> None:
    case = Case(*HEADS["one logit"])
    before = tf_keras.Model(case.network.input, case.network.layers[-2].output)
    kernel, bias = case.network.get_layer("logits").get_weights()
    assert kernel.shape == (10, 1)
    z = before(case.images, training=False).numpy() @ kernel + bias
    found = softmax(case.logits)
    assert np.abs(found[:, 1:] - 1 / (1 + np.exp(-z))).max() < TOLERANCE["fp32"]


def test_sigmoids_train_by_what_keras_computes_and_answer_so_in_float_files() -> None:
    """Keras' categorical_crossentropy divides sigmoids by their sum before the logarithm."""
    case = Case(SIGMOID, 5)
    scores = tf_keras.Model(case.network.input, case.network.get_layer("head_scores").output)
    sigmoids = 1 / (1 + np.exp(-scores(case.images, training=False).numpy()))
    labels = np.arange(64) % 5
    keras = tf_keras.losses.categorical_crossentropy(np.eye(5)[labels], sigmoids).numpy()
    ours = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, case.logits).numpy()
    assert np.abs(keras - ours).max() < TOLERANCE["loss"]
    expected = sigmoids / sigmoids.sum(axis=1, keepdims=True)
    for found in (
        in_onnx(case.graph, None, 5, case.images),
        in_tflite(case.graph, None, case.images),
    ):
        assert np.abs(found - expected).max() < TOLERANCE["fp32"]


def test_sigmoids_far_from_zero_stay_finite() -> None:
    z = np.array([-1e4, -90.0, 0.0, 90.0, 1e4], np.float32)
    case = network_of(SIGMOID, 5).get_layer("logits")
    assert np.allclose(case(z).numpy(), [-1e4, -90, -np.log(2), 0, 0], atol=1e-6)


def test_sigmoids_are_not_quantized_and_it_says_why(tmp_path) -> None:
    recipe = recipe_of(
        32, model={"head": {"output": "sigmoid"}}, export={"precisions": ["fp32", "w8"]}
    )
    with pytest.raises(RecipeError, match="no int8 form, because"):
        quantize_model(None, None, recipe, tmp_path)  # type: ignore[arg-type]


def test_one_logit_is_for_two_classes() -> None:
    with pytest.raises(RecipeError, match="tells 2 classes apart, received 10"):
        build_network(recipe_of(32, model={"head": {"output": "logit"}}), 10)


def test_a_norm_that_no_dense_layer_reads_is_refused() -> None:
    image = layers.Input((SIZE, SIZE, 3), name="image")
    norm = layers.BatchNormalization(name="norm")(layers.ReLU(name="relu")(image))
    model = tf_keras.Model(image, layers.Flatten(name="flat")(norm))
    with pytest.raises(ModelError, match="BatchNormalization"):
        fold(model)


@pytest.mark.parametrize("shares", [0.3, (0.3, 0.3, 0.3), (0.0, 0.5, 0.0)])
def test_dropout_stands_where_it_was_asked_for(shares) -> None:
    model = network_of(HeadSection(dense=(12, 8), dropout=shares), 5)
    found = {layer.name: layer.rate for layer in model.layers if isinstance(layer, layers.Dropout)}
    if shares == (0.0, 0.5, 0.0):
        assert found == {"head_dropout_2": 0.5}
    else:
        assert found == {"head_dropout_1": 0.3, "head_dropout_2": 0.3, "head_dropout": 0.3}
