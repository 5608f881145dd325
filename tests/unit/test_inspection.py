"""What a file truly holds, and names that promise more."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_network import contract
from tiny_onnx import (
    Builder,
    float_nodes,
    int8_nodes,
    load_onnx,
    weight_only_nodes,
    write_float_onnx,
    write_int8_onnx,
    write_onnx,
)
from tiny_tflite import build_tflite, write_float_tflite, write_int8_tflite, write_tflite

from toolchain.cli.inspect import inspect_model
from toolchain.errors import ExitCode, GateError, ModelError
from toolchain.inspection import (
    OpSummary,
    check_portable,
    check_promise,
    inspect_file,
    optimised_ops,
    promised_by_name,
)
from toolchain.inspection.kinds import kind_of, meaning
from toolchain.inspection.regions import Flow, regions_of
from toolchain.runtimes import open_runner

WRITERS = {
    "float.onnx": lambda path: write_onnx(path, float_nodes(), None),
    "int8.onnx": lambda path: write_onnx(path, int8_nodes(), None),
    "w8.onnx": lambda path: write_onnx(path, weight_only_nodes(), None),
    "float.tflite": lambda path: write_tflite(path, build_tflite(), None),
    "int8.tflite": lambda path: write_tflite(path, build_tflite("int8", "int8"), None),
    "uint8.tflite": lambda path: write_tflite(path, build_tflite("int8", "int8", "uint8"), None),
    "w8.tflite": lambda path: write_tflite(path, build_tflite("int8"), None),
}
TRUE = {"float": "fp32", "int8": "int8", "uint8": "int8", "w8": "w8"}
KEPT = {"float": {"fp32"}, "int8": {"int8-ptq", "int8-qat"}, "uint8": {"int8-ptq", "int8-qat"}}
KEPT["w8"] = {"w8"}


@pytest.mark.parametrize("name", WRITERS)
def test_true_scheme_whatever_the_name_says(name: str, tmp_path: Path) -> None:
    suffix = name.split(".")[1]
    path = WRITERS[name](tmp_path / f"model.fp16.{suffix}")
    inspection = inspect_file(path)
    assert inspection.true_scheme == TRUE[name.split(".", maxsplit=1)[0]]
    assert inspection.bytes == path.stat().st_size
    assert [op.name.lower().replace("_2d", "")[:4] for op in inspection.layers()] in (
        ["conv", "gemm"],
        ["conv", "full"],
    )


@pytest.mark.parametrize("name", WRITERS)
def test_a_promise_is_kept_or_refused_with_exit_3(name: str, tmp_path: Path) -> None:
    inspection = inspect_file(WRITERS[name](tmp_path / name))
    for precision in ("fp32", "fp16", "w8", "int8-ptq", "int8-qat"):
        if precision in KEPT[name.split(".", maxsplit=1)[0]]:
            check_promise(inspection, precision)
            continue
        with pytest.raises(GateError, match=f"promises {precision}") as caught:
            check_promise(inspection, precision)
        assert caught.value.exit_code == ExitCode.GATE == 3
        assert len(caught.value.lines()) <= 3


def test_an_unknown_precision_is_wrong_input(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="int4"):
        check_promise(inspect_file(write_float_onnx(tmp_path)), "int4")


@pytest.mark.parametrize(
    ("name", "promised"),
    [
        ("digits.int8-qat.tflite", "int8-qat"),
        ("my.model.fp32.onnx", "fp32"),
        ("w8.onnx", "w8"),
        ("digits.tflite", None),
        # Of any origin: what is set apart by anything but letters and digits, in either case.
        ("digits.int8.tflite", "int8"),
        ("m_int8.tflite", "int8"),
        ("INT8.onnx", "int8"),
        ("m-int8-qat.onnx", "int8-qat"),
        ("m_int8_qat.onnx", "int8-qat"),
        ("m.INT8-QAT.tflite", "int8-qat"),
        ("m.int8-qat.TFLITE", "int8-qat"),
        ("m.int8-qat (1).onnx", "int8-qat"),
        ("m.int8-qat.b1.onnx", "int8-qat"),
        ("m-FP16.onnx", "fp16"),
        ("int8_m.int8-ptq.onnx", "int8-ptq"),
        # A toolchain's own ending decides, other names that say two things say nothing.
        ("a.int8-qat.fp32.onnx", "fp32"),
        ("m_int8_fp32_io.tflite", None),
        # Parts of other words.
        ("m.uint8.tflite", None),
        ("print8.tflite", None),
        ("w80.onnx", None),
        ("int8x.onnx", None),
        ("m.fp32/m.onnx", None),
    ],
)
def test_the_promise_of_a_name(name: str, promised: str | None) -> None:
    assert promised_by_name(Path(name)) == promised


def test_tensors_as_a_client_sees_them(tmp_path: Path) -> None:
    inspection = inspect_file(WRITERS["uint8.tflite"](tmp_path / "m.tflite"))
    (source,), (result,) = inspection.inputs, inspection.outputs
    assert (source.name, source.shape, source.dtype) == ("input", (1, 8, 8, 3), "uint8")
    assert source.scale == pytest.approx(2 / 255)
    assert (result.dtype, result.scale, result.zero_point) == ("uint8", 1 / 256, 0)
    onnx_input = inspect_file(write_float_onnx(tmp_path)).inputs[0]
    assert (onnx_input.shape, onnx_input.dtype) == ((-1, 8, 8, 3), "float32")


def test_one_float_convolution_among_integers_is_found(tmp_path: Path) -> None:
    """The Relu's QuantizeLinear is left out: the convolution then computes in float."""
    build = int8_nodes()
    build.nodes = [node for node in build.nodes if node.output[0] != "relu_q"]
    for node in build.nodes:
        if "relu_dq" in node.input:
            node.input[0] = "relu"
    build.nodes = [node for node in build.nodes if node.output[0] != "relu_dq"]
    inspection = inspect_file(write_onnx(tmp_path / "m.int8-qat.onnx", build, None))
    assert inspection.true_scheme == "mixed"
    with pytest.raises(GateError, match=r"1 of 2 layers .*: conv \(Conv\)"):
        check_promise(inspection, "int8-qat")
    assert optimised_ops(inspection.path)["QLinearConv"] == 0


def test_a_float_convolution_fused_with_its_activation_is_a_layer_too(tmp_path: Path) -> None:
    """What onnxruntime writes when it saves the graph that it has optimised."""
    build = float_nodes()
    fused = helper.make_node(
        "FusedConv", ["nchw", "kernel", "bias"], ["relu"], domain="com.microsoft", activation="Relu"
    )
    place = next(i for i, node in enumerate(build.nodes) if node.op_type == "Conv")
    build.nodes[place : place + 2] = [fused]
    domains = [helper.make_opsetid("com.microsoft", 1)]
    inspection = inspect_file(write_onnx(tmp_path / "m.onnx", build, None, domains=domains))
    assert [op.name for op in inspection.layers()] == ["FusedConv", "Gemm"]
    assert inspection.true_scheme == "fp32"


def test_weights_stored_as_floats_are_no_int8_file(tmp_path: Path) -> None:
    """What tf2onnx makes of a QAT graph: float weights that are quantized at load time."""
    build = int8_nodes()
    stored = next(one for one in build.initializers if one.name == "kernel_i8")
    build.initializers.remove(stored)
    floats = np.zeros((4, 3, 1, 1), np.float32)
    build.constant("kernel_f32", floats, np.float32)
    quantize = helper.make_node(
        "QuantizeLinear", ["kernel_f32", "kernel_scale", "kernel_zero"], ["kernel_i8"], axis=0
    )
    build.nodes.insert(0, quantize)
    inspection = inspect_file(write_onnx(tmp_path / "m.int8-qat.onnx", build, None))
    assert inspection.layers()[0].weights == "float32"
    with pytest.raises(GateError):
        check_promise(inspection, "int8-qat")


def add_exp(build: Builder, op: str, output: str) -> None:
    """An Exp takes over the output of the only node of a type."""
    place = next(i for i, node in enumerate(build.nodes) if node.op_type == op)
    build.nodes[place].output[0] = f"{output}_before"
    build.nodes.insert(place + 1, helper.make_node("Exp", [f"{output}_before"], [output]))


def with_float_exp(path: Path) -> Path:
    """The int8 network with a float Exp after its pooling, or before it."""
    if path.suffix == ".onnx":
        build = int8_nodes()
        add_exp(build, "GlobalAveragePool", "pool")
        return write_onnx(path, build, None)
    lite = build_tflite("int8", "int8")
    mean = next(op for op in lite.graph.operators if len(op.inputs) == 2)
    maps, names = mean.inputs[0], ("before", "exp", "after")
    before, exp = (lite.activation(name, (1, 8, 8, 4), None) for name in names[:2])
    after = lite.activation(names[2], (1, 8, 8, 4), "conv")
    for op, given, returned in (
        ("DEQUANTIZE", maps, before), ("EXP", before, exp), ("QUANTIZE", exp, after)
    ):  # fmt: skip
        lite.op(op, [given], returned)
    operators = lite.graph.operators
    place = operators.index(mean)
    operators[place:] = [*operators[-3:], *operators[place:-3]]
    mean.inputs = [after, mean.inputs[1]]
    return write_tflite(path, lite, None)


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_a_float_op_between_integer_layers_breaks_the_promise(kind: str, tmp_path: Path) -> None:
    inspection = inspect_file(with_float_exp(tmp_path / f"m.int8-qat.{kind}"))
    assert inspection.true_scheme == "int8"
    assert {"onnx": "pool", "tflite": "exp"}[kind] in inspection.float_islands
    with pytest.raises(GateError, match=r"promises int8-qat.* computes? in float: .*\(E[xX][pP]\)"):
        check_promise(inspection, "int8-qat")
    for whole in (write_int8_onnx(tmp_path), write_int8_tflite(tmp_path)):
        assert inspect_file(whole).float_islands == ()


def test_float_ops_are_allowed_around_a_layer_that_may_be_float_alone(tmp_path: Path) -> None:
    """Exp reads the float logits; around the pooling no layer is float."""
    build = int8_nodes()
    build.nodes = [node for node in build.nodes if node.output[0] != "dense"]
    build.constant("dense", np.ones((4, 3)), np.float32)
    add_exp(build, "Gemm", "logits")
    inspection = inspect_file(write_onnx(tmp_path / "m.onnx", build, None))
    assert "logits" in inspection.float_islands
    check_promise(inspection, "int8-qat", ("logits_before",))
    add_exp(build, "GlobalAveragePool", "pool")
    inspection = inspect_file(write_onnx(tmp_path / "m.onnx", build, None))
    with pytest.raises(GateError, match=r"2 ops compute in float: pool_before .*, pool \(Exp\)"):
        check_promise(inspection, "int8-qat", ("logits_before",))


def test_regions_are_of_floats_alone() -> None:
    """Two float ops with an integer one between them, or with a common constant, are apart."""
    flows = [
        Flow(True, ("image", "six"), ("a",)),
        Flow(True, ("a",), ("b",)),
        Flow(False, ("b",), ("c",)),
        Flow(True, ("c", "six"), ("d",)),
    ]
    first, second, between, last = regions_of(flows)
    assert first == second != last
    assert between == 0 not in (first, last)
    gemm = OpSummary("Gemm", "y", "int8", "uint8", "float32", "int8")
    assert not gemm.touches_floats()
    assert replace(gemm, kind="mixed").touches_floats()
    assert replace(gemm, kind="").touches_floats()
    assert not replace(gemm, kind="", activation_out="uint8").touches_floats()


def test_a_file_of_float_layers_alone_is_no_int8_file(tmp_path: Path) -> None:
    inspection = inspect_file(write_float_onnx(tmp_path))
    names = [op.output for op in inspection.layers()]
    with pytest.raises(GateError, match="its contract says that all 2 layers compute in float"):
        check_promise(inspection, "int8-qat", names)


MEANINGS = {
    "int8": "int8 weights and activations",
    "w8a16": "8-bit weights with activations of up to 16 bits",
    "w4a8": "4-bit weights with activations of up to 8 bits",
    "w4": "4-bit weights with float activations",
    "w8": "int8 weights with float activations",
    "mixed": "integer and float parts",
    "fp16": "float16 weights",
}


@pytest.mark.parametrize(
    ("weights", "around", "kind"),
    [
        ("int8", ("int8", "int8"), "int8"),
        ("int8", ("uint8", "uint8"), "int8"),
        ("int8", ("int16", "int16"), "w8a16"),
        ("int8", ("int8", "int16"), "w8a16"),
        ("int4", ("int8", "int8"), "w4a8"),
        ("int4", ("float32", "float32"), "w4"),
        ("int8", ("float32", "float32"), "w8"),
        ("int8", ("int8", "float32"), "mixed"),
        ("float32", ("int8", "int8"), "mixed"),
        ("float16", ("float32", "float32"), "fp16"),
    ],
)
def test_the_kind_of_a_layer_tells_how_many_bits_there_are(weights, around, kind) -> None:
    assert kind_of(weights, *around) == kind
    assert meaning(kind).startswith(MEANINGS[kind])


def test_activations_of_16_bits_are_no_int8_file(tmp_path: Path) -> None:
    build = int8_nodes()
    for place, one in enumerate(build.initializers):
        value = numpy_helper.to_array(one)
        if value.dtype == np.uint8:
            build.initializers[place] = numpy_helper.from_array(value.astype(np.uint16), one.name)
    inspection = inspect_file(write_onnx(tmp_path / "m.int8.onnx", build, None))
    assert inspection.true_scheme == "w8a16"
    with pytest.raises(GateError, match=r"2 of 2 layers have 8-bit weights .* 16 bits"):
        check_promise(inspection, "int8")


@pytest.mark.parametrize(("inputs", "scheme"), [(4, "w8"), (400, "mixed")])
def test_a_dynamic_range_file_may_have_small_float_layers_alone(
    inputs: int, scheme: str, tmp_path: Path
) -> None:
    """A converter leaves those; one layer in 8 bits makes no file of 8-bit weights."""
    build = weight_only_nodes()
    build.nodes = [node for node in build.nodes if node.output[0] != "dense"]
    build.constant("dense", np.ones((inputs, 3)), np.float32)
    inspection = inspect_file(write_onnx(tmp_path / "m.onnx", build, None))
    assert [op.parameters for op in inspection.layers()] == [12, 3 * inputs]
    assert inspection.true_scheme == scheme
    if scheme == "w8":
        check_promise(inspection, "w8")
    else:
        with pytest.raises(GateError, match="1 of 2 layers have float32 weights"):
            check_promise(inspection, "w8")


def test_packed_weights_of_four_bits(tmp_path: Path) -> None:
    build = Builder()
    build.constant("packed", np.zeros((3, 1, 8)), np.uint8)
    build.constant("scales", np.ones(3), np.float32)
    node = helper.make_node(
        "MatMulNBits", ["input", "packed", "scales"], ["output"], domain="com.microsoft", bits=4
    )
    build.nodes.append(node)
    domains = [helper.make_opsetid("com.microsoft", 1)]
    inspection = inspect_file(write_onnx(tmp_path / "m.onnx", build, None, domains=domains))
    assert inspection.true_scheme == "w4"
    assert inspection.unproven == ("output",)


@pytest.mark.parametrize(("value", "expected"), [(127, ("conv",)), (63, ())])
def test_layers_that_overflow_16_bits_on_some_processors_are_named(
    tmp_path: Path, value: int, expected: tuple[str, ...]
) -> None:
    """A kernel with two neighbours of 127 may; with its weights halved it may not."""
    build = int8_nodes()
    stored = {one.name: numpy_helper.to_array(one) for one in build.initializers}
    build.initializers = [one for one in build.initializers if not one.name.endswith("_i8")]
    kernel = np.clip(stored["kernel_i8"], -63, 63)
    kernel[0, :2] = value
    build.constant("kernel_i8", kernel, np.int8)
    build.constant("dense_i8", np.clip(stored["dense_i8"], -63, 63), np.int8)
    inspection = inspect_file(write_onnx(tmp_path / "x.onnx", build, None))
    assert inspection.overflowing == expected
    assert inspection.to_json()["overflowing"] == list(expected)
    if expected:
        with pytest.raises(GateError, match=r"1 layer may overflow 16 bits.*conv"):
            check_portable(inspection)
    else:
        check_portable(inspection)


def test_onnxruntime_really_runs_the_int8_file_in_integers(tmp_path: Path) -> None:
    ops = optimised_ops(write_int8_onnx(tmp_path))
    assert ops["QLinearConv"] == 1
    assert ops["Conv"] == ops["FusedConv"] == 0
    assert optimised_ops(write_float_onnx(tmp_path))["QLinearConv"] == 0


def test_operators_of_dynamic_range_files(tmp_path: Path) -> None:
    """quantize_dynamic's own form: integer arithmetic with ranges measured at run time."""
    build = Builder()
    build.constant("w", np.ones((4, 3, 1, 1)), np.int8)
    build.node("Transpose", ["input"], "nchw", perm=[0, 3, 1, 2])
    build.nodes.append(helper.make_node("DynamicQuantizeLinear", ["nchw"], ["q", "s", "z"]))
    build.node("ConvInteger", ["q", "w", "z"], "sums")
    build.node("Cast", ["sums"], "output", to=TensorProto.FLOAT)
    inspection = inspect_file(write_onnx(tmp_path / "m.onnx", build, None))
    assert inspection.true_scheme == "w8"
    assert inspection.layers()[0].weights == "int8"


def rewritten(path: Path, change) -> Path:
    model = load_onnx(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def add_external(model) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="beside.bin")
    tensor.ClearField("raw_data")


def add_external_in_a_node(model) -> None:
    """numpy_helper would open the path that a Constant names."""
    tensor = numpy_helper.from_array(np.zeros(4, np.int8), "hidden")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def add_external_sparse(model) -> None:
    sparse = model.graph.sparse_initializer.add()
    sparse.values.name = "thin"
    sparse.values.external_data.add(key="location", value="../../etc/passwd")


def add_external_in_a_branch(model) -> None:
    tensor = helper.make_tensor("deep", TensorProto.FLOAT, [4], np.zeros(4))
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="beside.bin")
    inner = helper.make_graph([], "inner", [], [], [tensor])
    model.graph.node[0].attribute.append(helper.make_attribute("then_branch", inner))


def add_custom(model) -> None:
    model.graph.node[2].domain = "evil.ops"


def add_branch(model) -> None:
    inner = helper.make_graph(list(model.graph.node[:1]), "inner", [], [])
    model.graph.node[0].attribute.append(helper.make_attribute("then_branch", inner))


def add_function(model) -> None:
    model.functions.add(name="f", domain="here")


def add_second_writer(model) -> None:
    model.graph.node.append(model.graph.node[0])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (add_external, "'kernel' lies in another file"),
        (add_external_in_a_node, "'hidden' lies in another file"),
        (add_external_sparse, "'thin' lies in another file"),
        (add_custom, "evil.ops.Relu is a custom one"),
        (add_branch, "holds a graph of its own"),
        (add_function, "functions of its own"),
        (add_second_writer, "two nodes write 'nchw'"),
    ],
)
def test_what_reaches_outside_the_file_is_refused_by_name(change, told, tmp_path: Path) -> None:
    path = rewritten(write_float_onnx(tmp_path), change)
    with pytest.raises(ModelError, match=told) as caught:
        inspect_file(path)
    assert len(caught.value.lines()) <= 3


def test_the_json_of_a_scale_that_is_no_number_can_be_read(tmp_path: Path, capsys) -> None:
    build = build_tflite("int8", "int8", io="uint8")
    build.graph.tensors[build.graph.inputs[0]].quantization.scale = np.float32([np.nan])
    inspect_model(write_tflite(tmp_path / "foreign.tflite", build, None), as_json=True)
    answer = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert answer["inputs"][0]["scale"] is None


EXTERNAL = [add_external, add_external_in_a_node, add_external_sparse, add_external_in_a_branch]


@pytest.mark.parametrize("change", EXTERNAL)
def test_no_runtime_opens_a_file_with_external_data(change, tmp_path: Path) -> None:
    """The values are there: a runtime would find them, and no hash covers them."""
    path = rewritten(write_float_onnx(tmp_path), change)
    (tmp_path / "beside.bin").write_bytes(bytes(4096))
    with pytest.raises(ModelError, match="lies in another file"):
        open_runner(path)


def test_a_small_count_that_lies_cannot_eat_time_or_memory(tmp_path: Path) -> None:
    """Every 32-bit word of the file becomes a huge count or offset in turn."""
    path = write_float_tflite(tmp_path)
    original = path.read_bytes()
    for place in range(0, min(len(original), 1600) - 4, 16):
        for word in (b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x00\x00\x10\x00"):
            path.write_bytes(original[:place] + word + original[place + 4 :])
            try:
                inspect_file(path)
            except ModelError as error:
                assert len(error.lines()) <= 3


def test_inspection_as_json_has_every_op(tmp_path: Path) -> None:
    inspection = inspect_file(write_int8_tflite(tmp_path))
    data = inspection.to_json()
    assert data["true_scheme"] == "int8"
    assert [op["name"] for op in data["ops"]] == [op.name for op in inspection.ops]


def test_inspecting_needs_no_tensorflow_and_no_runtime(tmp_path: Path) -> None:
    path = write_tflite(tmp_path / "m.tflite", build_tflite(), contract("tflite"))
    code = (
        "import sys; from pathlib import Path; from toolchain.inspection import inspect_file\n"
        f"inspect_file(Path({str(path)!r}))\n"
        "print(sorted({'tensorflow', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
