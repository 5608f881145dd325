"""The vocabulary of inspection: one op, one file, and whether a file keeps its promise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from toolchain.contract import TensorSpec
from toolchain.errors import GateError, ModelError
from toolchain.inspection.kinds import meaning

# What each precision of a file name promises about every layer that has weights.
PROMISES: Final = {
    "fp32": "fp32",
    "fp16": "fp16",
    "w8": "w8",
    "int8-ptq": "int8",
    "int8-qat": "int8",
    "int8": "int8",
}
# A toolchain's own name: "b1" is the twin of an ONNX file for batches of one.
_NAME: Final = re.compile(rf"\.({'|'.join(PROMISES)})(?:\.b1)?\.(?:tflite|onnx)$")
# Anyone's: a precision set apart by what is no letter or digit; "int8_qat" is "int8-qat".
_WORD: Final = re.compile(
    rf"(?<![a-z0-9])(?:{'|'.join(PROMISES).replace('-', '[-_ ]')})(?![a-z0-9])", re.IGNORECASE
)
# Scheme of a file in which no op is known to have weights.
NO_LAYER: Final = "no layer with weights"
# TFLite's converter leaves layers with fewer weights float in dynamic-range files (TensorFlow,
# quantize_weights.h, "weights_min_num_elements").
_MIN_DYNAMIC: Final = 1024
_PARTS: Final = re.compile(r"[;/]")


@dataclass(frozen=True, slots=True)
class OpSummary:
    """One operator of the graph.

    Attributes:
      name: its type as the format calls it, such as "CONV_2D" or "Conv".
      output: the name of its first output tensor.
      weights: dtype its weights are stored in; None for an op without a layer's weights.
      activation_in, activation_out: dtypes of the data between ops, with a DequantizeLinear
        before and a QuantizeLinear after an ONNX op looked through; "" where there are none.
      kind: of a layer with weights, see `kinds.kind_of`; "" for others.
      parameters: how many weights a layer has, where that is known.
      region: a number that all ops share that hand floats to each other; 0 for an integer op.
    """

    name: str
    output: str
    weights: str | None
    activation_in: str
    activation_out: str
    kind: str
    parameters: int | None = None
    region: int = 0

    def touches_floats(self) -> bool:
        """Whether it computes in float; a layer of integers with a float result does not."""
        if self.kind:
            return self.kind != "int8"
        return "float32" in (self.activation_in, self.activation_out)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a file holds.

    Attributes:
      path: the file.
      format: "tflite" or "onnx".
      bytes: its size.
      ops: every operator, in the order of the graph.
      inputs, outputs: the tensors a client sees; here dtype is any, not only float32 and uint8.
      float_islands: output names of ops that compute in float inside a graph of integers. Softmax,
        Sigmoid and their like, and the quantize and dequantize ops, at the edges are no islands.
      true_scheme: what the layers with weights have in common, see `scheme_of`.
      proven, overflowing, unproven: output names of the integer layers of an .onnx file whose
        products fit 16 bits whatever the image, of those whose products may not, on x86 processors
        without VNNI, and of those that could not be read.
      contract_unread: why the contract that the file brings could not be read; "" where it could.
    """

    path: Path
    format: str
    bytes: int
    ops: tuple[OpSummary, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    float_islands: tuple[str, ...]
    true_scheme: str
    proven: tuple[str, ...] = ()
    overflowing: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()
    contract_unread: str = ""

    def layers(self) -> tuple[OpSummary, ...]:
        """The ops that have weights: convolutions and dense layers."""
        return tuple(op for op in self.ops if op.kind)

    def to_json(self) -> dict[str, Any]:
        """Plain data, as `inspect --json` prints it."""
        return {
            "file": self.path.name,
            "format": self.format,
            "bytes": self.bytes,
            "true_scheme": self.true_scheme,
            "inputs": [_tensor_json(spec) for spec in self.inputs],
            "outputs": [_tensor_json(spec) for spec in self.outputs],
            "float_islands": list(self.float_islands),
            "proven": list(self.proven),
            "overflowing": list(self.overflowing),
            "unproven": list(self.unproven),
            "contract_unread": self.contract_unread,
            "ops": [
                {
                    "name": op.name,
                    "output": op.output,
                    "weights": op.weights,
                    "activation_in": op.activation_in,
                    "activation_out": op.activation_out,
                    "kind": op.kind,
                }
                for op in self.ops
            ],
        }


def _tensor_json(spec: TensorSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "shape": list(spec.shape),
        "dtype": spec.dtype,
        "scale": spec.scale,
        "zero_point": spec.zero_point,
    }


def scheme_of(ops: tuple[OpSummary, ...]) -> str:
    """The kind of all layers with weights, or "mixed"; `NO_LAYER` where there are none."""
    kinds = {op.kind for op in _deciding(ops)}
    if len(kinds) > 1:
        return "mixed"
    return kinds.pop() if kinds else NO_LAYER


def _deciding(ops: Iterable[OpSummary]) -> tuple[OpSummary, ...]:
    """The layers with weights, without float ones that a dynamic-range file may have."""
    found = tuple(op for op in ops if op.kind)
    if all(op.kind != "w8" for op in found):
        return found
    return tuple(op for op in found if op.kind != "fp32" or not _is_small(op))


def _is_small(op: OpSummary) -> bool:
    return op.parameters is not None and op.parameters < _MIN_DYNAMIC


def promised_by_name(path: Path) -> str | None:
    """The precision in a name such as digits.int8-qat.tflite or net_INT8 (1).onnx.

    None where the name has none, or several that promise different things.
    """
    if found := _NAME.search(path.name):
        return found.group(1)
    words = [re.sub("[_ ]", "-", word.lower()) for word in _WORD.findall(path.stem)]
    return words[-1] if len({PROMISES[word] for word in words}) == 1 else None


def check_portable(inspection: Inspection) -> None:
    """Whether every processor computes the same integers from the file.

    Raises:
      GateError: layers may overflow 16 bits on x86 processors without VNNI, or that they do not
        cannot be read from the file.
    """
    for found, what in (
        (inspection.overflowing, "may overflow 16 bits on x86 without VNNI"),
        (inspection.unproven, "could not be proven to fit 16 bits on x86 without VNNI"),
    ):
        if found:
            raise GateError(
                f"{layers(len(found))} {what}: {', '.join(found[:3])[:180]}",
                str(inspection.path),
                "halve the weights (reduce_range), or run the file on VNNI or ARM alone",
            )


def layers(count: int) -> str:
    """ "1 layer", "2 layers"."""
    return f"{count} layer" + ("" if count == 1 else "s")


def float_layers(inspection: Inspection, names: Iterable[str]) -> dict[str, tuple[OpSummary, ...]]:
    """Name -> the layers with float32 weights that are called so.

    TFLite's converter calls a tensor after all the ops that it fused into one, with ";" and "/"
    between the names, and tfmot puts "quant_" before that of a layer.
    """
    computed = [(op, _names(op)) for op in inspection.layers() if op.weights == "float32"]
    return {name: tuple(op for op, called in computed if name in called) for name in names}


def _names(op: OpSummary) -> set[str]:
    return {part.removeprefix("quant_").removesuffix("_raw") for part in _PARTS.split(op.output)}


def scheme_without(inspection: Inspection, names: Iterable[str]) -> str:
    """The scheme of the layers that are not among the `float_layers` of these names."""
    apart = {op for found in float_layers(inspection, names).values() for op in found}
    return scheme_of(tuple(op for op in inspection.ops if op not in apart))


def check_promise(inspection: Inspection, precision: str, floats: Sequence[str] = ()) -> None:
    """Compare what a file holds with the precision it promises.

    Args:
      inspection: of the file.
      precision: "fp32", "fp16", "w8", "int8-ptq", "int8-qat", or "int8" for either of these.
      floats: layers that a file of integers was asked to compute in float: those, and no others.

    Raises:
      GateError: a layer with weights is of another kind, or there is no such layer at all; one of
        `floats` is not float; ops of a file of integers compute in float that no float value
        connects with one of `floats`.
      ModelError: the precision is none of these.
    """
    where = str(inspection.path)
    if precision not in PROMISES:
        raise ModelError(
            f"expected a precision of {', '.join(PROMISES)}, received {precision!r:.40}", where
        )
    expected = PROMISES[precision]
    asked = float_layers(inspection, floats if expected == "int8" else ())
    if missing := [name for name, found in asked.items() if not found]:
        raise GateError(
            f"its contract says that {', '.join(missing)[:180]} computes in float, which the file "
            "does not bear out",
            where,
            "export the model again",
        )
    apart = {op for found in asked.values() for op in found}
    what = _broken(inspection, expected, apart)
    if not what:
        return
    raise GateError(
        f"the file promises {precision}, which means {meaning(expected)}, but {what}",
        where,
        "export the model again, or give the file the name of what it holds",
    )


def _broken(inspection: Inspection, expected: str, apart: set[OpSummary]) -> str:
    """What in the file is not of the kind that is expected, "" where nothing is."""
    every = inspection.layers()
    if not every:
        return "it has no convolution or dense layer"
    counted = [op for op in _deciding(every) if op not in apart]
    if not counted:
        return f"its contract says that all {len(every)} layers compute in float"
    if wrong := [op for op in counted if op.kind != expected]:
        kinds = " or ".join(meaning(kind) for kind in sorted({op.kind for op in wrong}))
        verb = "has" if len(wrong) == 1 and len(every) == 1 else "have"
        return f"{len(wrong)} of {layers(len(every))} {verb} {kinds}: {_named(wrong)}"
    around = {op.region for op in apart}
    islands = set(inspection.float_islands) if expected == "int8" else set()
    if stray := [op for op in inspection.ops if op.output in islands and op.region not in around]:
        number = "1 op computes" if len(stray) == 1 else f"{len(stray)} ops compute"
        return f"{number} in float: {_named(stray)}"
    return ""


def _named(ops: Sequence[OpSummary]) -> str:
    return ", ".join(f"{op.output[:60]} ({op.name})" for op in ops[:3])
