"""The export stage: every format and precision the recipe asks for, each read back."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from toolchain import __version__
from toolchain.contract import (
    CONTRACT_FILE,
    LABELS_FILE,
    METADATA_KEY,
    Contract,
    ContractEntry,
    TensorSpec,
    write_contract_file,
)
from toolchain.images.preprocess import Preprocessing
from toolchain.inspection.read import inspect_file
from toolchain.inspection.scheme import check_promise
from toolchain.quantization.graph import IMAGE, Affine, Graph
from toolchain.quantization.stage import folded, quantized_graph
from toolchain.recipe import Recipe
from toolchain.run import sha256_file, write_bytes, write_text
from toolchain.terminal import working
from toolchain.training.device import configure
from toolchain.training.stage import WEIGHTS_FILE
from toolchain.values import QuantizedModel, TrainedModel


def export_models(
    trained: TrainedModel,
    quantized: QuantizedModel | None,
    recipe: Recipe,
    lineage: dict[str, str],
    out: Path,
) -> dict[str, ContractEntry]:
    """Write `<recipe>.<precision>.<format>`, labels.txt and contract.json into `out`.

    Args:
      trained, quantized: what is exported; quantized may be None when no int8 file is asked for.
      recipe: says which files.
      lineage: hashes of what lies upstream, for the contract.
      out: folder to write into.

    Raises:
      GateError: a written file does not hold what its name promises.
    """
    configure(
        dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, precision="float32"))
    )
    entries = {}
    for precision in recipe.export.precisions:
        graph, ranges = _graph(trained, quantized, recipe, precision)
        for file_format in recipe.export.formats:
            name = f"{recipe.name}.{precision}.{file_format}"
            contract = _contract(trained, quantized, recipe, lineage, precision, file_format)
            with working(f"writing {name}"):
                contract, data = _write(graph, ranges, recipe, contract)
                write_bytes(out / name, data)
            check_promise(inspect_file(out / name), precision)
            sha256 = hashlib.sha256(data).hexdigest()
            entries[name] = ContractEntry(sha256, len(data), contract)
    write_text(out / LABELS_FILE, "".join(f"{label}\n" for label in trained.classes))
    write_text(out / CONTRACT_FILE, write_contract_file(entries))
    return entries


def _graph(
    trained: TrainedModel, quantized: QuantizedModel | None, recipe: Recipe, precision: str
) -> tuple[Graph, dict[str, Affine] | None]:
    if precision == "fp32" or quantized is None:
        return folded(trained, recipe), None
    return quantized_graph(trained, quantized, recipe)


def _contract(
    trained: TrainedModel,
    quantized: QuantizedModel | None,
    recipe: Recipe,
    lineage: dict[str, str],
    precision: str,
    file_format: str,
) -> Contract:
    model = trained if precision == "fp32" or quantized is None else quantized
    size, classes = int(recipe.input.size or 0), len(trained.classes)
    return Contract(
        name=recipe.name,
        format=file_format,
        precision=precision,
        labels=trained.classes,
        preprocessing=Preprocessing.of(recipe.input.pixels, size),
        # What ONNX has; the TFLite file is asked for its own.
        input=TensorSpec(IMAGE, (-1, size, size, 3), "float32"),
        output=TensorSpec("probabilities", (-1, classes), "float32"),
        lineage={
            **lineage,
            "toolchain": __version__,
            "recipe_sha256": recipe.sha256(),
            "weights_sha256": sha256_file(model.folder / WEIGHTS_FILE),
        },
    )


def _write(
    graph: Graph, ranges: dict[str, Affine] | None, recipe: Recipe, contract: Contract
) -> tuple[Contract, bytes]:
    """The file with its contract inside, and the contract with the file's own tensors."""
    if contract.format == "onnx":
        from toolchain.export.onnx import to_onnx

        metadata = {METADATA_KEY: contract.dumps()}
        return contract, to_onnx(graph, ranges, recipe.export.opset, metadata)
    from toolchain.export.flatbuffer import tensor_specs
    from toolchain.export.tflite import carry, convert

    data = convert(graph, ranges, recipe.export.int8_io)
    given, returned = tensor_specs(data)
    contract = dataclasses.replace(contract, input=given, output=returned)
    return contract, carry(data, contract)
