"""Reads a file of either format into an `Inspection`."""

from __future__ import annotations

from pathlib import Path

from toolchain.inspection.onnx import read_onnx
from toolchain.inspection.scheme import Inspection
from toolchain.inspection.tflite import read_tflite
from toolchain.runtimes.carried import check_file


def inspect_file(path: Path) -> Inspection:
    """What a .tflite or .onnx file holds; it is parsed, never run.

    Raises:
      ModelError: another suffix, no regular file, damaged, or an .onnx that reaches outside
        itself (external data) or needs operators that onnxruntime does not bring.
    """
    if check_file(path) == "tflite":
        return read_tflite(path)
    return read_onnx(path)
