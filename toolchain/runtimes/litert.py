"""Runs .tflite files with ai-edge-litert's Interpreter and XNNPACK.

Not its CompiledModel: that one crashed on damaged files where Interpreter raises an error.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from toolchain.contract import TensorSpec
from toolchain.errors import ModelError
from toolchain.runtimes.base import check_contract, check_tensor, to_input, to_probabilities
from toolchain.runtimes.carried import choose, damaged, tflite_metadata


class LiteRTRunner:
    """A .tflite file, opened; see `base.Runner`."""

    runtime = "litert"
    provider = "cpu"

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        self._path = path
        self.contract = choose(path, tflite_metadata(path))
        started = time.perf_counter_ns()
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
            inputs = self._interpreter.get_input_details()
            outputs = self._interpreter.get_output_details()
        except (ValueError, RuntimeError) as error:
            raise damaged(path, error) from error
        self.load_ms = (time.perf_counter_ns() - started) / 1e6
        if len(inputs) != 1 or len(outputs) != 1:
            raise ModelError(
                f"expected one input and one output, found {len(inputs)} and {len(outputs)}",
                str(path),
            )
        check_contract(self.contract, str(path))
        check_tensor(self.contract.input, tensor_spec(inputs[0]), str(path))
        check_tensor(self.contract.output, tensor_spec(outputs[0]), str(path))
        self._input, self._output = int(inputs[0]["index"]), int(outputs[0]["index"])
        self._fixed_batch = self._batch = int(inputs[0]["shape"][0])
        self.nodes = placement(self._interpreter)

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Classify one image after the other, as a phone does; see `base.Runner.run`."""
        tensor = to_input(pixels, self.contract)
        rows = [self.run_tensor(tensor[i : i + 1]) for i in range(len(tensor))]
        if not rows:
            return np.empty((0, len(self.contract.labels)), np.float32)
        return to_probabilities(np.concatenate(rows), self.contract, str(self._path))

    def run_tensor(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """One inference; a batch that the graph cannot be resized to is run image by image."""
        if not self.takes(len(tensor)):
            return np.concatenate([self._invoke(tensor[i : i + 1]) for i in range(len(tensor))])
        return self._invoke(tensor)

    def takes(self, batch: int) -> bool:
        """Whether the graph can be resized to the batch; it is, then."""
        return batch == self._batch or self._resize(batch)

    def _resize(self, batch: int) -> bool:
        """Whether the graph now takes `batch` images; if not it takes what it took before."""
        if self._try_resize(batch):
            return True
        if self._batch != self._fixed_batch and not self._try_resize(self._fixed_batch):
            raise ModelError(f"the graph takes no batch of {self._fixed_batch}", str(self._path))
        return False

    def _try_resize(self, batch: int) -> bool:
        shape = [batch, *self.contract.input.shape[1:]]
        try:
            self._interpreter.resize_tensor_input(self._input, shape)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError):
            self._batch = -1
            return False
        self._batch = batch
        # A Reshape with a constant shape keeps the output at batch 1 and allocates all the same.
        return int(self._interpreter.get_output_details()[0]["shape"][0]) == batch

    def _invoke(self, tensor: NDArray[Any]) -> NDArray[Any]:
        try:
            self._interpreter.set_tensor(self._input, tensor)
            self._interpreter.invoke()
            output: NDArray[Any] = self._interpreter.get_tensor(self._output)
        except (ValueError, RuntimeError) as error:
            raise damaged(self._path, error) from error
        return output

    def close(self) -> None:
        """Give the memory back."""
        del self._interpreter


def placement(interpreter: Any) -> dict[str, int]:
    """XNNPACK or LiteRT's own kernels -> nodes, of an interpreter with its tensors allocated.

    The interpreter lists the nodes of the file, and after them one DELEGATE for each part that
    XNNPACK took over; a part's nodes are those between its inputs and its outputs. The list is not
    of the public interface: a version without it gives an empty answer.
    """
    if not hasattr(interpreter, "_get_ops_details"):
        return {}
    nodes = interpreter._get_ops_details()
    parts = [node for node in nodes if node["op_name"] == "DELEGATE"]
    own = [node for node in nodes if node["op_name"] != "DELEGATE"]
    makers = {int(out): place for place, node in enumerate(own) for out in node["outputs"]}
    taken: set[int] = set()
    for part in parts:
        given, wanted = {int(one) for one in part["inputs"]}, [int(one) for one in part["outputs"]]
        while wanted:
            tensor = wanted.pop()
            if tensor in given or tensor not in makers or makers[tensor] in taken:
                continue
            taken.add(makers[tensor])
            wanted += [int(one) for one in own[makers[tensor]]["inputs"]]
    found = {"XNNPACK": len(taken), "LiteRT kernels": len(own) - len(taken)}
    return {name: count for name, count in found.items() if count}


def tensor_spec(details: dict[str, Any]) -> TensorSpec:
    """An input or output as the interpreter describes it."""
    scale, zero_point = details["quantization"]
    quantized = bool(scale)
    return TensorSpec(
        name=str(details["name"]),
        shape=tuple(int(axis) for axis in details["shape_signature"]),
        dtype=np.dtype(details["dtype"]).name,
        scale=float(scale) if quantized else None,
        zero_point=int(zero_point) if quantized else None,
    )
