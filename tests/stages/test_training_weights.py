"""Weights files: what was saved comes back, and a hostile file is refused by the tensor's name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tf_keras
from networks import photos, randomise
from tf_keras import layers

from toolchain.errors import ModelError
from toolchain.training import weights
from toolchain.training.weights import (
    arrays_of,
    assign,
    load_backbone,
    read_safetensors,
    save_weights,
    variables,
)

KERNEL = "Conv1/kernel"


def tiny() -> tf_keras.Model:
    """A backbone of a convolution and a normalisation, and a head."""
    image = layers.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, use_bias=False, name="Conv1")(image)
    x = layers.BatchNormalization(name="bn_Conv1")(x)
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    model = tf_keras.Model(image, layers.Dense(2, name="logits")(x))
    randomise(variables(model.layers), seed=1)
    return model


@pytest.fixture
def saved(tmp_path: Path) -> tuple[dict[str, Any], Path]:
    """Random weights of the tiny backbone, and the .h5 file that Keras saves them in."""
    model = tiny()
    values = randomise(variables(model.layers[1:3]), seed=2)
    path = tmp_path / "weights.h5"
    model.save_weights(path)
    return values, path


def backbone_of(model: tf_keras.Model) -> dict[str, Any]:
    return {name: v.numpy() for name, v in variables(model.layers[1:3]).items()}


def same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[n], right[n]) for n in left)


def test_a_safetensors_file_comes_back_bit_by_bit(tmp_path: Path) -> None:
    model, other = tiny(), tiny()
    randomise(variables(model.layers), seed=3)
    path = tmp_path / "w.safetensors"
    save_weights(arrays_of(model), path, {"made": "here"})
    assign(variables(other.layers), read_safetensors(path), path)
    assert same(arrays_of(model), arrays_of(other))
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_the_same_weights_are_the_same_file(tmp_path: Path) -> None:
    arrays = arrays_of(tiny())
    save_weights(arrays, tmp_path / "a.safetensors")
    save_weights(dict(reversed(arrays.items())), tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize("suffix", [".h5", ".hdf5", ".H5"])
def test_an_h5_file_of_keras_fills_the_backbone_and_leaves_the_head(saved, suffix: str) -> None:
    values, path = saved
    path = path.rename(path.with_suffix(suffix))
    model = tiny()
    head = [w.numpy() for w in model.get_layer("logits").weights]
    load_backbone(model, path, fold_caffe=False)
    assert same(backbone_of(model), values)
    assert all(map(np.array_equal, head, [w.numpy() for w in model.get_layer("logits").weights]))


def test_a_safetensors_file_fills_the_backbone(saved, tmp_path: Path) -> None:
    values, _ = saved
    model, path = tiny(), tmp_path / "w.safetensors"
    save_weights({**values, "unused/kernel": np.zeros(3, np.float32)}, path)
    load_backbone(model, path, fold_caffe=False)
    assert same(backbone_of(model), values)


def edit_h5(change: Callable[[h5py.Group, Path], None]) -> Callable[[Path], None]:
    """A change of the group that holds the convolution's kernel."""

    def edit(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file["Conv1/Conv1"], path)

    return edit


def replace(make: Callable[[h5py.Group, Any], None]) -> Callable[[Path], None]:
    def change(group: h5py.Group, path: Path) -> None:
        old = np.asarray(group["kernel:0"])
        del group["kernel:0"]
        make(group, old)

    return edit_h5(change)


def external_link(group: h5py.Group, path: Path) -> None:
    with h5py.File(path.with_name("other.h5"), "w") as other:
        other["secret"] = np.asarray(group["kernel:0"])
    del group["kernel:0"]
    group["kernel:0"] = h5py.ExternalLink("other.h5", "/secret")


def external_data(group: h5py.Group, path: Path) -> None:
    secret = path.with_name("secret.bin")
    secret.write_bytes(bytes(3 * 3 * 3 * 4 * 4))
    del group["kernel:0"]
    group.create_dataset(
        "kernel:0", (3, 3, 3, 4), "f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)]
    )


def virtual(group: h5py.Group, path: Path) -> None:
    with h5py.File(path.with_name("other.h5"), "w") as other:
        other["secret"] = np.asarray(group["kernel:0"])
    del group["kernel:0"]
    layout = h5py.VirtualLayout((3, 3, 3, 4), "f4")
    layout[...] = h5py.VirtualSource(path.with_name("other.h5"), "secret", (3, 3, 3, 4))
    group.create_virtual_dataset("kernel:0", layout)


def soft_link(group: h5py.Group, old: Any) -> None:
    group["elsewhere"] = old
    group["kernel:0"] = h5py.SoftLink("/Conv1/Conv1/elsewhere")


def layer_is_a_dataset(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["Conv1"]
        file["Conv1"] = np.zeros(3, np.float32)


def layer_is_a_link(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.move("Conv1", "Conv0")
        file["Conv1"] = h5py.SoftLink("/Conv0")


def shape_bomb(group: h5py.Group, old: Any) -> None:
    """Claims 4 TiB and holds nothing."""
    group.create_dataset("kernel:0", (1 << 20, 1 << 20), "f4", chunks=(1024, 1024))


def with_value(value: float) -> Callable[[Path], None]:
    def make(group: h5py.Group, old: Any) -> None:
        old.flat[5] = value
        group["kernel:0"] = old

    return replace(make)


HOSTILE_TENSORS = {
    "missing": replace(lambda group, old: None),
    "transposed": replace(lambda group, old: group.create_dataset("kernel:0", data=old.T)),
    "one row short": replace(lambda group, old: group.create_dataset("kernel:0", data=old[:2])),
    "integers": replace(lambda g, old: g.create_dataset("kernel:0", data=old.astype("i4"))),
    "text": replace(lambda g, old: g.create_dataset("kernel:0", data="weights")),
    "a group": replace(lambda group, old: group.create_group("kernel:0")),
    "not a number": with_value(np.nan),
    "infinity": with_value(np.inf),
    "soft link": replace(soft_link),
    "external link": edit_h5(external_link),
    "external data": edit_h5(external_data),
    "virtual": edit_h5(virtual),
    "shape bomb": replace(shape_bomb),
    "layer is a dataset": layer_is_a_dataset,
    "layer is a link": layer_is_a_link,
}


@pytest.mark.parametrize("case", HOSTILE_TENSORS)
def test_a_hostile_h5_tensor_is_refused_by_name(case: str, saved) -> None:
    _, path = saved
    HOSTILE_TENSORS[case](path)
    model = tiny()
    with pytest.raises(ModelError) as caught:
        load_backbone(model, path, fold_caffe=False)
    assert KERNEL in caught.value.what
    assert caught.value.where == str(path)
    assert "model.weights" in caught.value.remedy


@pytest.mark.parametrize("suffix", [".h5", ".safetensors"])
@pytest.mark.parametrize(
    "data", [b"", b"hello, I am no weights file", bytes(4096), b"\x89HDF\r\n\x1a\n" + bytes(99)]
)
def test_garbage_is_refused(suffix: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(data)
    with pytest.raises(ModelError) as caught:
        load_backbone(tiny(), path, fold_caffe=False)
    assert caught.value.where == str(path)


def test_a_truncated_file_is_refused(saved, tmp_path: Path) -> None:
    values, h5 = saved
    tensors = tmp_path / "w.safetensors"
    save_weights(values, tensors)
    for path in (h5, tensors):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ModelError):
            load_backbone(tiny(), path, fold_caffe=False)


def test_a_safetensors_header_may_not_claim_more_than_there_is(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    header = b'{"Conv1/kernel":{"dtype":"F32","shape":[3,3,3,4],"data_offsets":[0,432]}}'
    for claimed in (len(header), 1 << 60):
        path.write_bytes(claimed.to_bytes(8, "little") + header)
        with pytest.raises(ModelError, match="safetensors"):
            load_backbone(tiny(), path, fold_caffe=False)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "nothing"),
        (np.zeros((3, 3, 4, 3), np.float32), "(3, 3, 4, 3)"),
        (np.full((3, 3, 3, 4), np.nan, np.float32), "NaN"),
    ],
)
def test_a_wrong_safetensors_tensor_is_refused_by_name(value, words: str, saved, tmp_path) -> None:
    values, _ = saved
    path = tmp_path / "w.safetensors"
    save_weights({n: v for n, v in (values | {KERNEL: value}).items() if v is not None}, path)
    with pytest.raises(ModelError) as caught:
        load_backbone(tiny(), path, fold_caffe=False)
    assert KERNEL in caught.value.what
    assert words in caught.value.what


def test_half_precision_weights_are_read(saved, tmp_path: Path) -> None:
    values, _ = saved
    path, model = tmp_path / "w.safetensors", tiny()
    save_weights({n: v.astype(np.float16) for n, v in values.items()}, path)
    load_backbone(model, path, fold_caffe=False)
    assert same(
        backbone_of(model),
        {n: v.astype(np.float16).astype(np.float32) for n, v in values.items()},
    )


def test_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.bin").write_bytes(b"123")
    with pytest.raises(ModelError, match=r"\.bin"):
        load_backbone(tiny(), tmp_path / "w.bin", fold_caffe=False)
    with pytest.raises(ModelError, match="found none"):
        load_backbone(tiny(), tmp_path / "missing.h5", fold_caffe=False)
    (tmp_path / "w.h5").write_bytes(b"123")
    monkeypatch.setattr(weights, "MAX_FILE_BYTES", 2)
    with pytest.raises(ModelError, match="at most 2 bytes"):
        load_backbone(tiny(), tmp_path / "w.h5", fold_caffe=False)


def test_the_network_computes_with_what_was_loaded(saved) -> None:
    _, path = saved
    one, other = tiny(), tiny()
    randomise(variables(one.layers), seed=8)
    for model in (one, other):
        load_backbone(model, path, fold_caffe=False)
    x = photos(2, 8).astype(np.float32)
    pooled = [
        tf_keras.Model(m.input, m.get_layer("head_pool").output)(x).numpy() for m in (one, other)
    ]
    assert np.array_equal(*pooled)
