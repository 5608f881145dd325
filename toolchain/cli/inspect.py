"""`toolchain inspect`: what a model file truly holds, and whether its name tells the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli.answer import print_json

if TYPE_CHECKING:
    from toolchain.contract import TensorSpec
    from toolchain.inspection import Inspection


def inspect_model(
    file: Annotated[Path, typer.Argument(help="A .tflite or .onnx file, of any origin.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on stdout.")
    ] = False,
) -> None:
    """Show what a model file holds: ops, dtypes, tensors. It is read in a child process, never run.

    Exits with 3 when it does not hold the precision that its name or its contract promises.

    Example: toolchain inspect runs/digits/export/digits.int8-qat.tflite
    """
    from toolchain.inspection import check_promise, promised_by_name
    from toolchain.inspection.apart import inspect_apart

    inspection, contract = inspect_apart(file)
    promises = {
        "name": promised_by_name(file),
        "contract": None if contract is None else contract.precision,
    }
    floats = () if contract is None else contract.float_layers
    if as_json:
        data = {**inspection.to_json(), "promised_by": promises, "float_layers": list(floats)}
        print_json(data, indent=1)
    else:
        _show(inspection, promises, floats)
    for precision in promises.values():
        if precision is not None:
            check_promise(inspection, precision, floats)


def _show(inspection: Inspection, promises: dict[str, str | None], floats: tuple[str, ...]) -> None:
    from toolchain.inspection.scheme import scheme_without
    from toolchain.terminal import say, table

    counts = Counter(
        (op.name, op.weights or "", op.activation_in, op.activation_out, op.kind)
        for op in inspection.ops
    )
    rows = [(name, str(count), *rest) for (name, *rest), count in counts.items()]
    columns = ("op", "count", "weights", "data in", "data out", "computes in")
    table(f"{inspection.path.name}  {inspection.bytes:,} bytes", columns, rows)
    named = [("in", spec) for spec in inspection.inputs]
    named += [("out", spec) for spec in inspection.outputs]
    table("tensors", ("", "name", "dtype", "shape", "scale"), [_row(*pair) for pair in named])
    if inspection.float_islands:
        names = ", ".join(inspection.float_islands[:10])
        say(f"float inside the integer graph: {names}")
    if inspection.contract_unread:
        say(f"not held against its contract: {inspection.contract_unread}")
    for line in _portability(inspection):
        say(line)
    promised = ", ".join(f"{who} says {what}" for who, what in promises.items() if what)
    scheme = inspection.true_scheme
    if floats:
        rest = scheme_without(inspection, floats)
        scheme += f": {rest}, and float as its contract says in {', '.join(floats)}"
    say(f"true scheme: {scheme}" + (f"  ({promised})" if promised else ""))


def _portability(inspection: Inspection) -> Iterator[str]:
    """Whether onnxruntime computes the same integers everywhere; nothing where it computes none."""
    from toolchain.inspection.scheme import layers

    overflowing, unproven = inspection.overflowing, inspection.unproven
    if overflowing:
        yield (
            f"{layers(len(overflowing))} may compute otherwise on x86 without VNNI (AVX2, older "
            f"AVX-512), where products overflow 16 bits: {', '.join(overflowing[:5])}"
        )
    if unproven:
        yield (
            f"{layers(len(unproven))} could not be proven to compute the same on x86 without VNNI, "
            f"where products may overflow 16 bits: {', '.join(unproven[:5])}"
        )
    elif inspection.proven and not overflowing:
        yield "the same integers on every processor: no product overflows 16 bits"


def _row(side: str, spec: TensorSpec) -> tuple[str, ...]:
    shape = " x ".join("n" if axis < 0 else str(axis) for axis in spec.shape)
    scale = "" if spec.scale is None else f"{spec.scale:.6g}, zero point {spec.zero_point}"
    return side, spec.name, spec.dtype, shape, scale
