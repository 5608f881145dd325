"""The export stage: every format and precision the recipe asks for, each read back."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

from toolchain import __version__
from toolchain.contract import (
    CONTRACT_FILE,
    LABELS_FILE,
    Accuracy,
    Contract,
    ContractEntry,
    TensorSpec,
    labels_text,
    write_contract_file,
)
from toolchain.errors import InputError
from toolchain.files import sha256_file, write_bytes, write_text
from toolchain.images.preprocess import Preprocessing
from toolchain.inspection.read import inspect_file
from toolchain.inspection.scheme import check_portable, check_promise
from toolchain.quantization.graph import IMAGE, KERNELS, Affine, Graph
from toolchain.quantization.stage import WEIGHTS_OF, folded, quantized_graph
from toolchain.recipe import Recipe
from toolchain.recipe.sections import ONNX_FORMS
from toolchain.terminal import working
from toolchain.training.device import configure
from toolchain.training.stage import WEIGHTS_FILE
from toolchain.values import Dataset, QuantizedModel, TrainedModel


@dataclass(frozen=True, slots=True)
class _Source:
    """What the files of one precision are written from.

    Attributes:
      graph: folded network.
      ranges: of the activations; None for files that compute in float.
      weights: the file that the graph's weights came from.
      accuracy: theirs on the validation split.
    """

    graph: Graph
    ranges: dict[str, Affine] | None
    weights: Path
    accuracy: float


def export_models(
    trained: TrainedModel,
    quantized: QuantizedModel | None,
    dataset: Dataset,
    recipe: Recipe,
    lineage: dict[str, str],
    out: Path,
    onnx_form: str = ONNX_FORMS[0],
) -> dict[str, ContractEntry]:
    """Write `<recipe>.<precision>.<format>`, labels.txt and contract.json into `out`.

    With export.onnx_static an ONNX file has a twin for batches of one, `…<precision>.b1.onnx`.

    Args:
      trained, quantized: what is exported; quantized is None when no int8 file is asked for.
      dataset: what they were trained on.
      recipe: says which files.
      lineage: hashes of what lies upstream, for the contract.
      out: folder to write into.
      onnx_form: of int8 ONNX files, see `onnx_forms.rewritten`.

    Raises:
      GateError: a written file does not hold what its name promises, or overflows 16 bits where
        processors are old.
      InputError: an int8 file is asked for and `quantized` is None.
    """
    configure(
        dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, precision="float32"))
    )
    entries: dict[str, ContractEntry] = {}
    graph = folded(trained, recipe)
    for precision in recipe.export.precisions:
        source = _source(graph, trained, quantized, precision)
        base = _contract(source, dataset, recipe, lineage, precision)
        for name, asked in _variants(base, recipe).items():
            with working(f"writing {name}"):
                contract, data = _write(source, recipe, asked, onnx_form)
                write_bytes(out / name, data)
            inspection = inspect_file(out / name)
            check_promise(inspection, precision, contract.float_layers)
            check_portable(inspection)
            sha256 = hashlib.sha256(data).hexdigest()
            entries[name] = ContractEntry(sha256, len(data), contract)
    write_text(out / LABELS_FILE, labels_text(trained.classes))
    write_text(out / CONTRACT_FILE, write_contract_file(entries))
    return entries


def _source(
    graph: Graph, trained: TrainedModel, quantized: QuantizedModel | None, precision: str
) -> _Source:
    if precision in KERNELS:
        accuracy = trained.history[trained.best].validation_accuracy
        return _Source(graph, None, trained.folder / WEIGHTS_FILE, accuracy)
    if quantized is None:
        raise InputError(f"expected a quantized model to write {precision} from, received none")
    rounded, ranges = quantized_graph(graph, quantized, precision)
    accuracy = quantized.integers[precision].validation_accuracy
    return _Source(rounded, ranges, quantized.folder / WEIGHTS_OF[precision], accuracy)


def _contract(
    source: _Source,
    dataset: Dataset,
    recipe: Recipe,
    lineage: dict[str, str],
    precision: str,
) -> Contract:
    """What the files of one precision have in common, with the tensors of a plain ONNX file."""
    size, kind = int(recipe.input.size or 0), recipe.export.output
    classes = dataset.classes
    images = len(dataset.indices("validation"))
    return Contract(
        name=recipe.name,
        format="onnx",
        precision=precision,
        labels=classes,
        preprocessing=Preprocessing.of(recipe.input.pixels, size, recipe.input.crop),
        input=TensorSpec(IMAGE, (-1, size, size, 3), "float32"),
        output=TensorSpec(kind, (-1, len(classes)), "float32"),
        lineage={
            **lineage,
            "toolchain": __version__,
            "recipe_sha256": recipe.sha256(),
            "weights_sha256": sha256_file(source.weights),
        },
        output_kind=kind,
        accuracy=Accuracy("validation", images, source.accuracy) if images else None,
        float_layers=source.graph.float_layers(),
    )


def _variants(base: Contract, recipe: Recipe) -> dict[str, Contract]:
    """File name -> contract of every file that the recipe asks for in one precision."""
    stem, settings, found = f"{recipe.name}.{base.precision}", recipe.export, {}
    if "tflite" in settings.formats:
        found[f"{stem}.tflite"] = dataclasses.replace(base, format="tflite")
    if "onnx" not in settings.formats:
        return found
    size, layout = base.preprocessing.size, settings.onnx_layout.upper()
    axes = (size, size, 3) if layout == "NHWC" else (3, size, size)
    batches = {".onnx": -1} | ({".b1.onnx": 1} if settings.onnx_static else {})
    for suffix, batch in batches.items():
        found[stem + suffix] = dataclasses.replace(
            base,
            layout=layout,
            input=TensorSpec(IMAGE, (batch, *axes), settings.onnx_input),
            output=dataclasses.replace(base.output, shape=(batch, len(base.labels))),
        )
    return found


def _write(
    source: _Source, recipe: Recipe, contract: Contract, onnx_form: str
) -> tuple[Contract, bytes]:
    """The file with its contract inside, and that contract; a TFLite file says its tensors."""
    if contract.format == "onnx":
        from toolchain.export.onnx import to_onnx
        from toolchain.export.onnx_forms import rewritten

        data = to_onnx(source.graph, source.ranges, contract, recipe.export.opset)
        return contract, data if source.ranges is None else rewritten(data, onnx_form)
    from toolchain.export.flatbuffer import tensor_specs
    from toolchain.export.tflite import carry, convert

    io, kernels = recipe.export.int8_io, KERNELS.get(contract.precision, "int8")
    data = convert(source.graph, source.ranges, io, contract.output_kind, kernels)
    given, returned = tensor_specs(data)
    contract = dataclasses.replace(contract, input=given, output=returned)
    return contract, carry(data, contract)
