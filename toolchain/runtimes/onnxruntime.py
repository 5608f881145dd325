"""Runs .onnx files with onnxruntime, on the provider that was asked for or not at all."""

from __future__ import annotations

import ctypes
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from toolchain.contract import METADATA_KEY, TensorSpec
from toolchain.errors import InputError, MachineError, ModelError
from toolchain.runtimes.base import check_contract, check_tensor, to_input, to_probabilities
from toolchain.runtimes.carried import choose, damaged
from toolchain.runtimes.onnx_file import require_one_file

PROVIDERS: Final = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
LIBRARIES: Final = {
    "cuda": "libonnxruntime_providers_cuda.so",
    "tensorrt": "libonnxruntime_providers_tensorrt.so",
}
_SHARED: Final = "libonnxruntime_providers_shared.so"
_DRIVER: Final = "libcuda.so.1"
_DTYPES: Final = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
# Severity 3 is errors only: onnxruntime warns on stderr about every provider that does not load.
_ERRORS_ONLY: Final = 3


class OnnxRunner:
    """An .onnx file, opened; see `base.Runner`."""

    runtime = "onnxruntime"

    def __init__(self, path: Path, *, threads: int = 1, provider: str = "cpu") -> None:
        self._path, self.provider = path, provider
        _require_built_in(provider)
        require_one_file(path)
        started = time.perf_counter_ns()
        self._session = _open_session(path, threads, provider)
        self.load_ms = (time.perf_counter_ns() - started) / 1e6
        _require_loaded(provider, self._session.get_providers())
        # A provider that fails later must be an error too, not a silent second try on the CPU.
        self._session.disable_fallback()
        carried, inputs, outputs = _described(self._session, path)
        self.contract = choose(path, carried)
        if len(inputs) != 1 or len(outputs) != 1:
            raise ModelError(
                f"expected one input and one output, found {len(inputs)} and {len(outputs)}",
                str(path),
            )
        self._input, found = inputs[0].name, inputs[0]
        check_contract(self.contract, str(path))
        check_tensor(_unquantized(self.contract.input), found, str(path))
        check_tensor(_unquantized(self.contract.output), outputs[0], str(path))
        self._batch = found.shape[0]
        self.nodes = _placement(self._session)

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Classify; see `base.Runner.run`."""
        if len(pixels) == 0:
            return np.empty((0, len(self.contract.labels)), np.float32)
        raw = self.run_tensor(to_input(pixels, self.contract))
        return to_probabilities(raw, self.contract, str(self._path))

    def takes(self, batch: int) -> bool:
        """Whether the graph's batch is free, or just this one."""
        return self._batch in (-1, batch)

    def run_tensor(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """One inference, or several where the graph's batch is fixed and smaller."""
        if self.takes(len(tensor)):
            return self._infer(tensor)
        return np.concatenate([self._infer(tensor[i : i + 1]) for i in range(len(tensor))])

    def _infer(self, tensor: NDArray[Any]) -> NDArray[Any]:
        try:
            output: NDArray[Any] = self._session.run(None, {self._input: tensor})[0]
        except MemoryError:
            raise
        except Exception as error:  # onnxruntime's classes share no base of their own
            raise damaged(self._path, error) from error
        return output

    def close(self) -> None:
        """Give the memory back."""
        del self._session


def _open_session(path: Path, threads: int, provider: str) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    wanted = [PROVIDERS[provider]]
    if provider == "tensorrt":
        wanted.append(PROVIDERS["cuda"])
    if provider != "cpu":
        wanted.append(PROVIDERS["cpu"])
    ort.set_default_logger_severity(_ERRORS_ONLY)
    try:
        return ort.InferenceSession(str(path), options, providers=wanted)
    except MemoryError:
        raise
    except Exception as error:  # onnxruntime's classes share no base of their own
        raise damaged(path, error) from error


def _placement(session: Any) -> dict[str, int]:
    """Provider -> nodes, as onnxruntime divided the graph; it tells since 1.24."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return {}
    placed: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        placed[str(part.ep_name)] += len(part.get_nodes())
    return dict(placed)


def _require_built_in(provider: str) -> None:
    if provider not in PROVIDERS:
        raise InputError(f"expected one of {', '.join(PROVIDERS)}, received {provider!r:.40}")
    _require_loaded(provider, ort.get_available_providers())


def _require_loaded(provider: str, there: list[str]) -> None:
    if PROVIDERS[provider] not in there:
        raise MachineError(
            f"expected onnxruntime to load {PROVIDERS[provider]}, it has {', '.join(there)}",
            f"missing: {missing_library(LIBRARIES[provider])}",
            "pip install 'toolchain[gpu]' on a machine with the GPU and its driver, or use cpu",
        )


def missing_library(name: str, folder: Path | None = None) -> str:
    """Which shared library keeps a provider's own from being loaded.

    Args:
      name: the provider's library; folder: where onnxruntime keeps such, found when None.

    Returns:
      Its name; the system's linker names only the first that it cannot find.
    """
    folder = folder or Path(ort.__file__).parent / "capi"
    if not (folder / name).is_file():
        return f"{name}, which onnxruntime-gpu brings and this onnxruntime does not"
    try:
        # The provider's library takes symbols from this one.
        ctypes.CDLL(str(folder / _SHARED), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / name))
        ctypes.CDLL(_DRIVER)
    except OSError as error:
        return str(error).partition(":")[0]
    return "a GPU that this onnxruntime can use; every library loads"


def _described(session: Any, path: Path) -> tuple[str | None, list[TensorSpec], list[TensorSpec]]:
    """The contract inside the file, its inputs and its outputs."""
    try:
        carried = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        inputs = [_tensor_spec(described) for described in session.get_inputs()]
        outputs = [_tensor_spec(described) for described in session.get_outputs()]
    except (ValueError, RuntimeError) as error:  # names that are no UTF-8
        raise damaged(path, error) from error
    return carried, inputs, outputs


def _tensor_spec(described: Any) -> TensorSpec:
    return TensorSpec(
        name=str(described.name),
        shape=tuple(axis if isinstance(axis, int) else -1 for axis in described.shape),
        dtype=_DTYPES.get(described.type, str(described.type)),
    )


def _unquantized(spec: TensorSpec) -> TensorSpec:
    """An ONNX input or output has no scale of its own: the contract alone knows it."""
    return TensorSpec(spec.name, spec.shape, spec.dtype)
