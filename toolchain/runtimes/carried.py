"""The contract that a file brings: inside it, or beside it in contract.json.

Files are foreign here. Only their metadata is read, with bounds, and nothing of them is run.
"""

from __future__ import annotations

import mmap
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from toolchain.contract import (
    CONTRACT_FILE,
    MAX_CONTRACT_BYTES,
    METADATA_KEY,
    Contract,
    parse_contract,
    read_contract_file,
)
from toolchain.errors import ModelError
from toolchain.files import sha256_file
from toolchain.runtimes.protobuf import fields, mapped

FORMATS: Final = {".tflite": "tflite", ".onnx": "onnx"}
MAX_MODEL_BYTES: Final = 2 * 1024**3
_MAX_METADATA: Final = 256
# Fields of ModelProto and of StringStringEntryProto
# (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
_METADATA_PROPS, _KEY, _VALUE = 14, 1, 2


class ContractError(ModelError):
    """A file brings a contract that cannot be read; of the file itself that says nothing."""


def check_file(path: Path) -> str:
    """The format of a model file: "tflite" or "onnx".

    Raises:
      ModelError: the suffix is another, or it is not a regular file of at most 2 GiB.
    """
    where = str(path)
    if path.suffix not in FORMATS:
        raise ModelError(
            f"expected a file ending in {' or '.join(FORMATS)}, received {path.name!r:.80}", where
        )
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise ModelError("expected a model file, found none", where, "check the path") from error
    if not stat.S_ISREG(status.st_mode):
        raise ModelError("expected a model file, found something else", where, "check the path")
    if not 0 < status.st_size <= MAX_MODEL_BYTES:
        raise ModelError(
            f"expected 1 to {MAX_MODEL_BYTES:,} bytes, found {status.st_size:,}", where
        )
    return FORMATS[path.suffix]


def find_contract(path: Path) -> Contract | None:
    """The contract of a model file, read without opening it in a runtime; None if there is none.

    Raises:
      ContractError: there is one, of another schema or damaged.
      ModelError: the file is damaged, or changed since its export.
    """
    inside = tflite_metadata(path) if check_file(path) == "tflite" else _onnx_metadata(path)
    return _find(path, inside)


def read_contract(path: Path) -> Contract:
    """The same, for who cannot do without one.

    Raises:
      ModelError: the file is damaged, changed since its export, or brings no contract.
    """
    return _required(path, find_contract(path))


def choose(path: Path, inside: str | None) -> Contract:
    """The contract found inside a file, or else the one beside it.

    Raises:
      ModelError: contract.json has another sha256 for this file, or there is no contract at all.
    """
    return _required(path, _find(path, inside))


def _find(path: Path, inside: str | None) -> Contract | None:
    # contract.json is read in any case: it is what knows the file's hash.
    beside = _beside(path)
    if inside is None:
        return beside
    with _reading_a_contract():
        return parse_contract(inside, str(path))


@contextmanager
def _reading_a_contract() -> Iterator[None]:
    try:
        yield
    except ModelError as error:
        raise ContractError(error.what, error.where, error.remedy) from error


def _required(path: Path, contract: Contract | None) -> Contract:
    if contract is None:
        raise ModelError(
            f"the file carries no contract, and no {CONTRACT_FILE} beside it names it",
            str(path),
            f"export it with this toolchain, or put the {CONTRACT_FILE} of its export beside it",
        )
    return contract


def _beside(path: Path) -> Contract | None:
    if not path.with_name(CONTRACT_FILE).is_file():
        return None
    with _reading_a_contract():
        entry = read_contract_file(path.parent).get(path.name)
    if entry is None:
        return None
    # Of files with random byte flips about 40 in 100 still load and run: only a hash notices.
    found = sha256_file(path)
    if found != entry.sha256:
        raise ModelError(
            f"{CONTRACT_FILE} expects sha256 {entry.sha256[:16]}…, found {found[:16]}…",
            str(path),
            "the file was changed after its export; export the model again",
        )
    return entry.contract


def tflite_metadata(path: Path) -> str | None:
    """The text of the metadata buffer named `METADATA_KEY` in a .tflite, None if there is none.

    Raises:
      ModelError: the FlatBuffer is damaged.
    """
    from ai_edge_litert import schema_py_generated as schema

    data = path.read_bytes()
    try:
        if data[4:8] != b"TFL3":
            raise ValueError("not a TensorFlow Lite file")
        model = schema.Model.GetRootAs(data, 0)
        for position in range(min(model.MetadataLength(), _MAX_METADATA)):
            entry = model.Metadata(position)
            if entry.Name() == METADATA_KEY.encode():
                return _buffer_text(model.Buffers(entry.Buffer()))
    except (
        struct.error,
        ValueError,
        IndexError,
        TypeError,
        OverflowError,
        AttributeError,
    ) as error:
        raise damaged(path, error) from error
    return None


def _buffer_text(buffer: Any) -> str:
    # DataAsNumpy checks the vector's bounds and copies nothing.
    content = buffer.DataAsNumpy()
    if isinstance(content, int) or len(content) > MAX_CONTRACT_BYTES:
        raise ValueError("the contract is empty or too long")
    return bytes(content).decode()


def _onnx_metadata(path: Path) -> str | None:
    try:
        with mapped(path) as data:
            for number, place in fields(data, range(len(data))):
                if number == _METADATA_PROPS and isinstance(place, range):
                    entry = dict(fields(data, place))
                    if _text(data, entry.get(_KEY)) == METADATA_KEY:
                        return _text(data, entry.get(_VALUE))
    except (IndexError, ValueError) as error:
        raise damaged(path, error) from error
    return None


def _text(data: mmap.mmap, place: int | range | None) -> str:
    if not isinstance(place, range):
        return ""
    if len(place) > MAX_CONTRACT_BYTES:
        raise ValueError("the contract is too long")
    return data[place.start : place.stop].decode()


def damaged(path: Path, error: BaseException) -> ModelError:
    """The error for a file whose bytes are not what its suffix says."""
    return ModelError(
        f"{path.name} is damaged or not a {path.suffix} file "
        f"({type(error).__name__}: {str(error)[:120]})",
        str(path),
        "export or copy it again",
    )
