"""What a file truly is: its ops, dtypes and scheme, read without TensorFlow and without running it.

A name is a promise (`digits.int8-qat.tflite`). `inspect_file` reads a file back, `check_promise`
says whether the file keeps it.
"""

from toolchain.inspection.onnx import optimised_ops
from toolchain.inspection.read import inspect_file
from toolchain.inspection.scheme import (
    Inspection,
    OpSummary,
    check_portable,
    check_promise,
    promised_by_name,
)

__all__ = [
    "Inspection",
    "OpSummary",
    "check_portable",
    "check_promise",
    "inspect_file",
    "optimised_ops",
    "promised_by_name",
]
