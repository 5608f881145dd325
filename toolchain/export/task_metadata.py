"""TFLite Metadata: what MediaPipe Tasks and ML Kit read to feed a file and to name its answers.

A FlatBuffer of its own schema (identifier "M001") in the model's buffer "TFLITE_METADATA", and the
files it names in a zip archive behind the model's bytes
(https://ai.google.dev/edge/litert/models/metadata). The schema's Python code comes with mediapipe
alone, which an export must not need, so the ten tables used here are written by slot number; a
test reads them back with that code.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import Final, TypeAlias

import flatbuffers
import numpy as np
from numpy.typing import NDArray

from toolchain.contract import LABELS_FILE, Contract, TensorSpec, labels_text

BUFFER: Final = "TFLITE_METADATA"
_IDENTIFIER: Final = b"M001"
# The first version of the schema knows all the tables written here.
_PARSER: Final = "1.0.0"
# Members of the schema's enums and unions.
_AXIS_LABELS: Final = np.uint8(2)
_RGB: Final = np.uint8(1)
_FEATURE, _IMAGE = np.uint8(1), np.uint8(2)
_NORMALIZATION: Final = np.uint8(1)
# zip has no earlier date; a fixed one makes the same run the same bytes.
_DATE: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class _Table:
    """A FlatBuffers table: values by slot, the position of a field in the schema's table.

    A union takes two slots, first its member's number.
    """

    slots: dict[int, _Value]


_Offset: TypeAlias = "str | NDArray[np.float32] | _Table | tuple[_Table, ...]"
_Value: TypeAlias = "np.uint8 | np.uint32 | _Offset"


def task_metadata(contract: Contract) -> bytes:
    """The metadata FlatBuffer that says to MediaPipe what the contract says to us."""
    text = f"{contract.precision} classifier of {len(contract.labels)} classes"
    subgraph = _Table({2: (_input(contract),), 3: (_output(contract),)})
    model = _Table({0: contract.name, 1: text, 3: (subgraph,), 7: _PARSER})
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write(builder, model), _IDENTIFIER)
    return bytes(builder.Output())


def append_labels(data: bytes, contract: Contract) -> bytes:
    """The file with its label file in a zip archive behind it, as the format asks.

    It must be the last edit: a FlatBuffer that is packed again loses what lies behind it.
    """
    packed = io.BytesIO()
    packed.write(data)
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_STORED) as archive:
        entry = zipfile.ZipInfo(LABELS_FILE, _DATE)
        archive.writestr(entry, labels_text(contract.labels))
    return packed.getvalue()


def _input(contract: Contract) -> _Table:
    preprocessing = contract.preprocessing
    side = np.uint32(preprocessing.size)
    image = _Table({0: _RGB, 1: _Table({0: side, 1: side})})
    normalization = _Table({0: _floats(preprocessing.mean), 1: _floats(preprocessing.std)})
    low, high = 0.0, 255.0
    if contract.input.dtype == "float32":
        low, high = ((end - preprocessing.mean) / preprocessing.std for end in (low, high))
    return _Table(
        {
            0: contract.input.name,
            1: "photo, RGB",
            3: _Table({0: _IMAGE, 1: image}),
            4: (_Table({0: _NORMALIZATION, 1: normalization}),),
            5: _Table({0: _floats(high), 1: _floats(low)}),
        }
    )


def _output(contract: Contract) -> _Table:
    labels = _Table({0: LABELS_FILE, 1: "a class a line", 2: _AXIS_LABELS})
    return _Table(
        {
            0: contract.output.name,
            1: f"{contract.output.name} of the classes",
            3: _Table({0: _FEATURE, 1: _Table({})}),
            5: _Table({0: _floats(_highest(contract.output)), 1: _floats(0.0)}),
            6: (labels,),
        }
    )


def _highest(output: TensorSpec) -> float:
    return 1.0 if output.dtype == "float32" else 255.0


def _floats(*values: float) -> NDArray[np.float32]:
    return np.asarray(values, np.float32)


def _write(builder: flatbuffers.Builder, value: _Offset) -> int:
    """Write a value that is referred to by offset, its parts first; returns the offset."""
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, np.ndarray):
        return int(builder.CreateNumpyVector(value))
    if isinstance(value, tuple):
        offsets = [_write(builder, table) for table in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())
    parts = {slot: _part(builder, part) for slot, part in value.slots.items()}
    builder.StartObject(max(parts, default=-1) + 1)
    for slot, part in parts.items():
        if isinstance(part, int):
            builder.PrependUOffsetTRelativeSlot(slot, part, 0)
        elif part.itemsize == 1:
            builder.PrependUint8Slot(slot, int(part), 0)
        else:
            builder.PrependUint32Slot(slot, int(part), 0)
    return int(builder.EndObject())


def _part(builder: flatbuffers.Builder, value: _Value) -> np.uint8 | np.uint32 | int:
    """A scalar as it is, all else as its offset."""
    return value if isinstance(value, np.uint8 | np.uint32) else _write(builder, value)
