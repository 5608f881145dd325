"""Products that x86 processors without VNNI cut off: by hand, and against onnxruntime itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolchain.inspection.overflow import largest_pair

ROWS, INPUTS, OUTPUTS = 40, 64, 16


def operands(largest: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    activations = random.integers(0, 256, (ROWS, INPUTS)).astype(np.uint8)
    kernel = random.integers(-largest, largest + 1, (INPUTS, OUTPUTS)).astype(np.int8)
    return activations, kernel


def saturated_product(activations: np.ndarray, kernel: np.ndarray) -> tuple[np.ndarray, float]:
    """uint8 [rows, n] @ int8 [n, out] by VPMADDUBSW: int32 [rows, out], and the share cut off."""
    odd = kernel.shape[0] % 2
    left = np.pad(activations.astype(np.int32), ((0, 0), (0, odd)))
    right = np.pad(kernel.astype(np.int32), ((0, odd), (0, 0)))
    result, cut = np.zeros((len(left), right.shape[1]), np.int64), 0
    for at in range(0, len(right), 2):
        sums = left[:, at : at + 2] @ right[at : at + 2]
        clipped = np.clip(sums, -32_768, 32_767)
        cut += int(np.count_nonzero(sums != clipped))
        result += clipped
    return result, 2 * cut / (result.size * len(right))


def exact(activations: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return activations.astype(np.int64) @ kernel.astype(np.int64)


def test_two_large_products_are_cut_off_at_16_bits() -> None:
    activations = np.full((1, 2), 255, np.uint8)
    for value, expected in ((127, 32_767), (-127, -32_768), (64, 32_640)):
        kernel = np.full((2, 1), value, np.int8)
        found, share = saturated_product(activations, kernel)
        assert found.item() == expected
        assert share == (abs(value) > 64)


def test_products_of_other_signs_make_room_for_each_other() -> None:
    activations, kernel = np.full((1, 2), 255, np.uint8), np.array([[127], [-127]], np.int8)
    assert saturated_product(activations, kernel)[0].item() == 0
    assert largest_pair(kernel) == 255 * 127


@pytest.mark.parametrize("inputs", [INPUTS, INPUTS - 1])
def test_seven_bits_never_overflow(inputs: int) -> None:
    activations, kernel = operands(63)
    activations, kernel = activations[:, :inputs], kernel[:inputs]
    found, share = saturated_product(activations, kernel)
    assert share == 0
    assert np.array_equal(found, exact(activations, kernel))
    assert largest_pair(kernel) <= 32_767


def test_the_worst_case_is_the_worst_that_any_image_meets() -> None:
    kernel = operands(127)[1]
    bound = largest_pair(kernel)
    assert bound > 32_767
    worst = np.where(kernel[:, 0] > 0, 255, 0).astype(np.uint8)
    pairs = (worst[:, None] * kernel[:, :1].astype(np.int64)).reshape(-1, 2).sum(axis=1)
    assert pairs.max() <= bound


def as_onnxruntime(activations: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """MatMulInteger: uint8 [rows, n] @ int8 [n, out] -> int32, with onnxruntime's own kernels."""
    node = helper.make_node("MatMulInteger", ["a", "k"], ["y"])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [None, activations.shape[1]])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [None, kernel.shape[1]])],
        [numpy_helper.from_array(kernel, "k")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"a": activations})[0]


def convolved(pixels: np.ndarray, kernel: np.ndarray, step: float) -> np.ndarray:
    """QLinearConv: uint8 [n, c, h, w] with int8 [out, c, kh, kw] -> uint8 rows [n h w, out]."""
    scales = (("xs", 1), ("ws", np.ones(len(kernel))), ("ys", step))
    zeros = (("xz", np.uint8(0)), ("wz", np.zeros(len(kernel), np.int8)), ("yz", np.uint8(128)))
    constants = [numpy_helper.from_array(np.asarray(v, np.float32), name) for name, v in scales]
    constants += [numpy_helper.from_array(np.asarray(v), name) for name, v in zeros]
    node = helper.make_node("QLinearConv", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["y"])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, list(pixels.shape))],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        [*constants, numpy_helper.from_array(kernel, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": pixels})[0].transpose(0, 2, 3, 1).reshape(-1, len(kernel))


def has_vnni() -> bool:
    flags = Path("/proc/cpuinfo").read_text().split()
    return bool({"avx512_vnni", "avx_vnni"} & set(flags))


def is_x86() -> bool:
    path = Path("/proc/cpuinfo")
    return path.exists() and "avx2" in path.read_text().split()


@pytest.mark.skipif(not is_x86(), reason="not Linux on an x86 processor with AVX2")
def test_onnxruntime_computes_what_the_emulation_says_for_this_processor() -> None:
    activations, kernel = operands(127)
    saturated, share = saturated_product(activations, kernel)
    truth = exact(activations, kernel)
    assert share > 0.01
    found = as_onnxruntime(activations, kernel)
    assert np.array_equal(found, truth if has_vnni() else saturated)
    mild = operands(63)
    assert np.array_equal(as_onnxruntime(*mild), exact(*mild))


@pytest.mark.skipif(not is_x86(), reason="not Linux on an x86 processor with AVX2")
@pytest.mark.parametrize(("channels", "window"), [(32, 1), (3, 3), (16, 3)])
def test_so_do_its_convolutions_with_neighbours_along_the_channels(channels, window) -> None:
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (2, channels, 9, 9)).astype(np.uint8)
    kernel = random.integers(-127, 128, (16, channels, window, window)).astype(np.int8)
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (window, window), axis=(2, 3))
    rows = windows.transpose(0, 2, 3, 4, 5, 1).reshape(-1, window * window * channels)
    flat = kernel.transpose(2, 3, 1, 0).reshape(-1, 16)
    truth = exact(rows, flat)
    step = np.float32(np.abs(truth).max() / 127)
    expected = truth if has_vnni() else saturated_product(rows, flat)[0]
    stored = np.clip(np.rint(expected / step), -128, 127) + 128
    assert np.array_equal(convolved(pixels, kernel, step), stored)
    assert not np.array_equal(truth, saturated_product(rows, flat)[0])
