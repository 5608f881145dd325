"""Weights as arrays: read from .safetensors or .h5, checked, set on a graph that we built.

A weights file never builds anything: its arrays go into the variables of our own graph, each
after its shape and type were compared. Names are "layer/variable", such as "Conv1/kernel".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import tf_keras
from numpy.typing import NDArray

from toolchain.errors import ModelError
from toolchain.files import write_bytes
from toolchain.training.network import backbone_layers

Arrays = dict[str, NDArray[np.float32]]

MAX_FILE_BYTES: Final = 4 * 1024**3
# VGG16's published weights want BGR pixels less these means (Keras applications, "caffe" mode).
_CAFFE_MEANS_RGB: Final = np.array([123.68, 116.779, 103.939], dtype=np.float64)


def variables(layers: list[Any]) -> dict[str, Any]:
    """Every weight of the layers by its name "layer/variable"."""
    named = {}
    for layer in layers:
        for variable in layer.weights:
            short = variable.name.rsplit("/", 1)[-1].split(":")[0]
            named[f"{layer.name}/{short}"] = variable
    return named


def arrays_of(model: tf_keras.Model) -> Arrays:
    """All weights of a model as float32 arrays."""
    return {name: v.numpy().astype(np.float32) for name, v in variables(model.layers).items()}


def save_weights(arrays: Arrays, path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a .safetensors file, whole or not at all."""
    from safetensors.numpy import save

    ordered = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    write_bytes(path, save(ordered, metadata=metadata))


def read_safetensors(path: Path) -> Arrays:
    """The arrays of a .safetensors file, as float32.

    Raises:
      ModelError: not such a file, or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    _check_size(path)
    try:
        return {name: value.astype(np.float32) for name, value in load(path.read_bytes()).items()}
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"not a safetensors file: {error}", str(path)) from error


def read_h5(path: Path, wanted: dict[str, tuple[int, ...]]) -> Arrays:
    """The wanted arrays of an .h5 file in Keras applications' layout, as float32.

    Only hard-linked, contiguous float datasets of the expected shape are read: an external or
    virtual dataset can copy other files of this machine, a false shape can fill its memory.

    Args:
      path: the file.
      wanted: "layer/variable" -> shape.

    Raises:
      ModelError: not HDF5, a weight missing, or of another shape or type.
    """
    import h5py

    _check_size(path)
    try:
        with h5py.File(path, "r") as file:
            return {name: _dataset(file, name, shape, path) for name, shape in wanted.items()}
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"not a readable HDF5 weights file: {error}", str(path)) from error


def _dataset(file: Any, name: str, shape: tuple[int, ...], path: Path) -> NDArray[np.float32]:
    import h5py

    layer, variable = name.split("/")
    group = file
    for key in (layer, layer, f"{variable}:0"):
        if group.get(key, getlink=True).__class__ is not h5py.HardLink:
            raise _mismatch(path, name, "a dataset in the file itself", "a link or nothing")
        group = group[key]
        if key == layer and not isinstance(group, h5py.Group):
            raise _mismatch(path, name, "a group", "a dataset")
    if not isinstance(group, h5py.Dataset) or group.external or group.is_virtual:
        raise _mismatch(path, name, "a dataset in the file itself", "an external one")
    if group.shape != shape or group.dtype.kind != "f":
        raise _mismatch(path, name, f"float {shape}", f"{group.dtype} {group.shape}")
    return np.asarray(group[()], dtype=np.float32)


def _check_size(path: Path) -> None:
    if not path.is_file():
        raise ModelError("expected a weights file, found none", str(path), "check model.weights")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ModelError(f"a weights file has at most {MAX_FILE_BYTES:,} bytes", str(path))


def _mismatch(path: Path, name: str, expected: str, received: str) -> ModelError:
    return ModelError(
        f"{name}: expected {expected}, received {received}",
        str(path),
        "give weights of this backbone, alpha and layout (see model.weights)",
    )


def assign(named: dict[str, Any], arrays: Arrays, path: Path) -> None:
    """Set every variable from its array.

    Raises:
      ModelError: an array is missing, has another shape, or holds NaN or infinity.
    """
    for name, variable in named.items():
        value, shape = arrays.get(name), tuple(variable.shape)
        if value is None:
            raise _mismatch(path, name, f"float {shape}", "nothing")
        if value.shape != shape:
            raise _mismatch(path, name, f"shape {shape}", f"{value.shape}")
        if not np.isfinite(value).all():
            raise _mismatch(path, name, "finite numbers", "NaN or infinity")
        variable.assign(value)


def is_h5(path: Path) -> bool:
    """Whether a file's name says that it is in Keras' format of weights."""
    return path.suffix.lower() in (".h5", ".hdf5")


def load_backbone(network: tf_keras.Model, path: Path, *, fold_caffe: bool) -> None:
    """Set the backbone of `network` from an .h5 or .safetensors file; the head stays.

    Args:
      network: from `network.build_network`.
      path: the weights.
      fold_caffe: the file holds VGG16's published weights and the recipe's pixels are "caffe".

    Raises:
      ModelError: see `read_h5`, `read_safetensors` and `assign`.
    """
    named = variables(backbone_layers(network))
    if path.suffix.lower() == ".safetensors":
        arrays = read_safetensors(path)
    elif is_h5(path):
        arrays = read_h5(path, {name: tuple(v.shape) for name, v in named.items()})
    else:
        raise ModelError(f"expected .h5 or .safetensors, received {path.suffix!r}", str(path))
    if fold_caffe:
        arrays = _fold_caffe(arrays)
    assign(named, arrays, path)


def _fold_caffe(arrays: Arrays) -> Arrays:
    """VGG16's weights for RGB pixels less 115 instead of BGR pixels less their own means.

    conv(bgr - means) = conv'(rgb - 115) with the kernel's input axis reversed and
    bias' = bias + sum over h, w, c of kernel' * (115 - mean_c): exact inside the image; at its
    border the zero padding stands for grey 115 instead of the mean colour.
    """
    folded = dict(arrays)
    kernel = arrays["block1_conv1/kernel"][:, :, ::-1, :].astype(np.float64)
    shift = (115.0 - _CAFFE_MEANS_RGB).reshape(1, 1, 3, 1)
    bias = arrays["block1_conv1/bias"] + (kernel * shift).sum(axis=(0, 1, 2))
    folded["block1_conv1/kernel"] = kernel.astype(np.float32)
    folded["block1_conv1/bias"] = bias.astype(np.float32)
    return folded
