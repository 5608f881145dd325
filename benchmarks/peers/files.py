"""The peers' files as our harness and runtimes take them: with a contract, as candidates."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from peers.inputs import Inputs
from peers.nncf_openvino import WORKER as OPENVINO
from toolchain.benchmark.candidate import Candidate, candidates
from toolchain.cli import published
from toolchain.contract import (
    CONTRACT_FILE,
    ContractEntry,
    ExportedModel,
    TensorSpec,
    write_contract_file,
)
from toolchain.files import sha256_file
from toolchain.recipe.sections import BenchmarkSection
from toolchain.runtimes import read_contract

OURS = ("fp32", "int8-ptq", "int8-qat")


def write_contracts(inputs: Inputs, files: list[Path], missing: dict[str, str]) -> None:
    """contract.json beside the peers' files; one that no runtime opens is noted in `missing`."""
    entries = {}
    for path in files:
        try:
            source, result = _tensors(path)
        except Exception as error:  # whatever a runtime raises at a file it does not like
            missing[path.name] = f"{type(error).__name__}: {error}"[:200]
            continue
        contract = dataclasses.replace(
            inputs.contract,
            format=path.suffix[1:],
            precision=path.stem,
            layout="NHWC",
            output_kind="probabilities",
            input=source,
            output=result,
        )
        entries[path.name] = ContractEntry(sha256_file(path), path.stat().st_size, contract)
    if files:
        (files[0].parent / CONTRACT_FILE).write_text(write_contract_file(entries))


def candidates_of(inputs: Inputs, made: list[Path], section: BenchmarkSection) -> list[Candidate]:
    """Our files and theirs, as candidates of one session."""
    ours = [one for one in published.exported(inputs.run) if one.contract.precision in OURS]
    theirs = [
        ExportedModel(path, sha256_file(path), read_contract(path))
        for path in made
        if path.suffix != ".xml"
    ]
    rows = candidates([*ours, *theirs], section)
    for path in (one for one in made if one.suffix == ".xml"):
        weights = path.with_suffix(".bin")
        rows.append(
            Candidate(
                name=path.name,
                opens=path,
                path=weights,
                sha256=sha256_file(weights),
                format="openvino",
                precision=path.stem,
                frame=inputs.contract.preprocessing.frame,
                runtime="openvino",
                provider="cpu",
                threads=section.threads[0],
                worker=OPENVINO,
            )
        )
    return rows


def _tensors(path: Path) -> tuple[TensorSpec, TensorSpec]:
    """Input and output of a file, as its runtime describes them."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        one, other = (
            TensorSpec(
                tensor.name,
                tuple(axis if isinstance(axis, int) else -1 for axis in tensor.shape),
                "float32",
            )
            for tensor in (session.get_inputs()[0], session.get_outputs()[0])
        )
        return one, other
    from ai_edge_litert.interpreter import Interpreter

    from toolchain.runtimes.litert import tensor_spec

    interpreter = Interpreter(model_path=str(path))
    return (
        tensor_spec(interpreter.get_input_details()[0]),
        tensor_spec(interpreter.get_output_details()[0]),
    )
