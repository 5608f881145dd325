"""The contract: it travels with a file unchanged, and a hostile one is a ModelError."""

from __future__ import annotations

import copy
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.contract import MAX_CONTRACT_BYTES, Accuracy, Contract, TensorSpec, parse_contract
from toolchain.errors import ExitCode, ModelError
from toolchain.images.preprocess import Preprocessing

CONTRACT = Contract(
    name="cats",
    format="tflite",
    precision="int8-qat",
    labels=("Katze", "Hund ü", "鳥"),
    preprocessing=Preprocessing.of("symmetric", 160),
    input=TensorSpec("photos", (-1, 160, 160, 3), "uint8", 1 / 127.5, 128),
    output=TensorSpec("probabilities", (-1, 3), "float32"),
    lineage={"recipe": "ab" * 32, "toolchain": "0.1.0"},
    accuracy=Accuracy("validation", 300, 0.97),
    float_layers=("Conv1", "logits"),
)


def refuse(text):
    with pytest.raises(ModelError) as caught:
        parse_contract(text, "cats.tflite")
    assert caught.value.exit_code == ExitCode.INPUT
    lines = str(caught.value).splitlines()
    assert len(lines) <= 3
    assert max(map(len, lines)) < 1000


def changed(path, value):
    data = copy.deepcopy(CONTRACT.to_json())
    *parents, last = path.split(".")
    inner = data
    for key in parents:
        inner = inner[key]
    inner[last] = value
    return json.dumps(data)


def test_a_contract_comes_back_as_it_went():
    assert parse_contract(CONTRACT.dumps(), "x") == CONTRACT
    assert parse_contract(CONTRACT.dumps().encode(), "x") == CONTRACT


def test_the_text_is_canonical():
    data = dict(reversed(CONTRACT.to_json().items()))
    assert parse_contract(json.dumps(data), "x").dumps() == CONTRACT.dumps()


@given(
    st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30), min_size=1),
    st.integers(1, 4096),
)
def test_any_labels_and_size_come_back(labels, size):
    data = CONTRACT.to_json()
    data["labels"], data["preprocessing"]["size"] = labels, size
    parsed = parse_contract(json.dumps(data), "x")
    assert parsed.labels == tuple(labels)
    assert parsed.preprocessing.size == size


@pytest.mark.parametrize("path", sorted(CONTRACT.to_json().keys() - {"float_layers"}))
def test_a_missing_key_is_refused(path):
    data = CONTRACT.to_json()
    del data[path]
    refuse(json.dumps(data))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema", 1),
        ("schema", "2"),
        ("schema", None),
        ("name", 3),
        ("name", "a\x1b[2J"),
        ("name", "\ud800"),
        ("name", "x" * 5000),
        ("format", "exe"),
        ("labels", "abc"),
        ("labels", []),
        ("labels", {"a": 1}),
        ("labels", ["a", 1]),
        ("labels", ["a\nb"]),
        ("preprocessing", None),
        ("preprocessing.size", 0),
        ("preprocessing.size", 10**9),
        ("preprocessing.size", 160.0),
        ("preprocessing.size", True),
        ("preprocessing.crop", 0.05),
        ("preprocessing.crop", 1.5),
        ("preprocessing.crop", None),
        ("preprocessing.mean", math.nan),
        ("preprocessing.mean", "128.0"),
        ("preprocessing.mean", 10**400),
        ("preprocessing.std", 0),
        ("preprocessing.std", 0.0),
        ("preprocessing.std", math.inf),
        ("preprocessing.channels", "BGR"),
        ("preprocessing.resize", "crop"),
        ("preprocessing.kernel", "nearest"),
        ("decode", None),
        ("decode", {}),
        ("decode.exif", "ignore"),
        ("decode.alpha", 3),
        ("layout", "CHW"),
        ("layout", ["NHWC"]),
        ("output_kind", "scores"),
        ("float_layers", "Conv1"),
        ("float_layers", ["Conv1", 2]),
        ("float_layers", ["x"] * 1001),
        ("accuracy", 0.9),
        ("accuracy", {"split": "validation", "images": 3}),
        ("accuracy.top1", 1.1),
        ("accuracy.top1", math.nan),
        ("accuracy.images", 0),
        ("accuracy.split", "a\nb"),
        ("input.shape", "123"),
        ("input.shape", [-2, 3]),
        ("input.shape", [2**40]),
        ("input.shape", [1.0]),
        ("input.shape", [1] * 9),
        ("input.dtype", "object"),
        ("input.dtype", 3),
        ("input.scale", 0.0),
        ("input.scale", -1.0),
        ("input.scale", math.nan),
        ("input.zero_point", 1.5),
        ("input.zero_point", 256),
        ("input.zero_point", None),
        ("input.scale", None),
        ("output", []),
        ("lineage", []),
        ("lineage", {"a": 3}),
    ],
)
def test_a_value_that_no_client_could_honour_is_refused(path, value):
    refuse(changed(path, value))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "3",
        '"schema"',
        "{}",
        "{",
        b"\xff\xfe",
        b"\x00" * 10,
        "[" * 100_000,
        '{"schema": ' + "9" * 5_000 + "}",
        " " * (MAX_CONTRACT_BYTES + 1),
    ],
    ids=[
        "empty",
        "null",
        "list",
        "number",
        "text",
        "no keys",
        "unclosed",
        "utf-16 mark",
        "zeros",
        "deep",
        "digits",
        "too long",
    ],
)
def test_what_is_not_a_contract_is_refused(text):
    refuse(text)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["float32", "uint8", "RGB", "onnx"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)
PATHS = [
    *CONTRACT.to_json(),
    *(
        f"{outer}.{inner}"
        for outer in ("preprocessing", "input", "output", "lineage", "decode", "accuracy")
        for inner in CONTRACT.to_json()[outer]
    ),
]


@settings(max_examples=800)
@given(st.lists(st.tuples(st.sampled_from(PATHS), JSON), min_size=1, max_size=3))
def test_any_change_is_read_or_refused(changes):
    data = copy.deepcopy(CONTRACT.to_json())
    for path, value in changes:
        outer, _, inner = path.partition(".")
        if not inner:
            data[outer] = value
        elif isinstance(data[outer], dict):
            data[outer][inner] = value
    try:
        contract = parse_contract(json.dumps(data), "x")
    except ModelError:
        return
    assert contract.labels
    assert math.isfinite(contract.preprocessing.mean / contract.preprocessing.std)
    assert parse_contract(contract.dumps(), "x") == contract


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data):
    refuse(data)
