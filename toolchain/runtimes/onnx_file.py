"""Refuses .onnx files that keep values in other files (external data).

The hash of such a file says nothing about what it computes, and a foreign one would have a runtime
read files of its choice. The bytes are walked over: the child that is timed neither imports
onnx for it nor holds the weights twice.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Final

from toolchain.errors import ModelError
from toolchain.runtimes.carried import damaged
from toolchain.runtimes.protobuf import fields, mapped

# Message -> number of a field -> message in it, on every way to a tensor
# (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
_INSIDE: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14


def require_one_file(path: Path) -> None:
    """Make sure that every tensor of an .onnx file lies in it.

    Raises:
      ModelError: one does not, or the file is damaged.
    """
    try:
        with mapped(path) as data:
            outside = _tensor_outside(data)
    except (IndexError, ValueError) as error:
        raise damaged(path, error) from error
    if outside is not None:
        raise ModelError(
            f"tensor {outside!r:.80} lies in another file (external data)",
            str(path),
            "save the model as one file",
        )


def _tensor_outside(data: mmap.mmap) -> str | None:
    """The name of a tensor that lies in another file."""
    todo = [("model", range(len(data)))]
    while todo:
        kind, place = todo.pop()
        name, is_outside = "", False
        for number, value in fields(data, place):
            if kind == "tensor" and number in (_EXTERNAL_DATA, _DATA_LOCATION):
                is_outside |= value != 0
            elif isinstance(value, range) and number in _INSIDE[kind]:
                todo.append((_INSIDE[kind][number], value))
            elif isinstance(value, range) and kind == "tensor" and number == _NAME:
                name = data[value.start : value.stop].decode(errors="replace")
        if is_outside:
            return name
    return None
