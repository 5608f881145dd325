"""The contract: labels, preprocessing and tensor specs, carried inside every exported file.

The same JSON lies beside the files as contract.json, there with an entry for each of them.
`ExportedModel` is the waist of the house: what is right of it needs a file and its contract only.
"""

from __future__ import annotations

import dataclasses
import json
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from toolchain.errors import ModelError, reason
from toolchain.images.decode import Decoding
from toolchain.images.preprocess import Preprocessing

# 2: decode rules, layout, kind of the output, accuracy. 3: crop; a reader that knows none would see
# the whole photo.
SCHEMA: Final = 3
CONTRACT_FILE: Final = "contract.json"
LABELS_FILE: Final = "labels.txt"
# Key of the contract in ONNX metadata_props and name of the TFLite metadata buffer.
METADATA_KEY: Final = "toolchain.contract"
MAX_CONTRACT_BYTES: Final = 4 * 1024 * 1024
# contract.json holds the contracts of an export: five precisions in two formats, and a twin of each
# .onnx for batches of one, make 15 files.
MAX_CONTRACT_FILE_BYTES: Final = 16 * MAX_CONTRACT_BYTES
MAX_LABELS: Final = 100_000
MAX_FLOAT_LAYERS: Final = 1_000
LAYOUTS: Final = ("NHWC", "NCHW")
OUTPUT_KINDS: Final = ("probabilities", "logits")
# Means, deviations and scales lie far inside; float32 arithmetic with them cannot overflow.
MAX_REAL: Final = 1e9
MIN_CROP: Final = 0.1
MAX_SIZE: Final = 4096


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output of an exported file.

    Attributes:
      name: the tensor's name in the file.
      shape: sizes of its axes; -1 is a batch of any size.
      dtype: "float32" or "uint8".
      scale, zero_point: real = scale * (stored - zero_point) for uint8; None for float32.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How good the model was that a file was made from, as far as its export knew.

    Attributes:
      split: the photos it was asked about; "validation", because the test split stays unseen until
        `verify`, which writes its figures beside the file and never into it.
      images: how many.
      top1: share that it got right, 0..1.
    """

    split: str
    images: int
    top1: float


@dataclass(frozen=True, slots=True)
class Contract:
    """All a client needs to run one exported file and read its answer.

    Attributes:
      name: the recipe's name.
      format: "tflite" or "onnx".
      precision: "fp32", "fp16", "w8", "int8-ptq" or "int8-qat"; a promise that inspect proves or
        refutes.
      labels: class names in the order of the output's last axis.
      decode: from the bytes of an image file to RGB.
      preprocessing: from RGB to the float input; a uint8 input takes the resized RGB bytes.
      layout: order of the input's axes, "NHWC" or "NCHW".
      input, output: the tensors.
      output_kind: "probabilities" that sum to 1, or "logits", whose softmax they are.
      accuracy: of the model that the file was made from; None when nobody measured it.
      float_layers: the layers that a file of integers computes in float, because it was asked to.
      lineage: sha256 of recipe, data and weights, and the toolchain's version.
    """

    name: str
    format: str
    precision: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    input: TensorSpec
    output: TensorSpec
    lineage: dict[str, str]
    decode: Decoding = field(default_factory=Decoding)
    layout: str = "NHWC"
    output_kind: str = "probabilities"
    accuracy: Accuracy | None = None
    float_layers: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data, the form that travels."""
        data = dataclasses.asdict(self)
        data["preprocessing"] = self.preprocessing.to_json()
        return {"schema": SCHEMA, **data}

    def dumps(self) -> str:
        """Canonical JSON text."""
        return json.dumps(self.to_json(), sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """An exported file and its contract: the waist between training and everything after it.

    Attributes:
      path: the file.
      sha256: of its bytes.
      contract: what it promises.
    """

    path: Path
    sha256: str
    contract: Contract


def parse_contract(text: str | bytes, where: str) -> Contract:
    """Read a contract that came with a file; foreign text, so every field is checked.

    Raises:
      ModelError: not a contract of this schema.
    """
    try:
        if len(text) > MAX_CONTRACT_BYTES:
            raise ValueError("too long")
        data = json.loads(text)
        if (schema := data.pop("schema")) != SCHEMA:
            raise ValueError(f"expected schema {SCHEMA}, received {schema!r:.20}")
        contract = Contract(
            name=_text(data["name"]),
            format=_one_of(data["format"], ("tflite", "onnx")),
            precision=_text(data["precision"]),
            labels=tuple(_text(label) for label in _list(data["labels"], MAX_LABELS)),
            preprocessing=_preprocessing(data["preprocessing"]),
            input=_tensor(data["input"]),
            output=_tensor(data["output"]),
            lineage={_text(k): _text(v) for k, v in data["lineage"].items()},
            decode=_decoding(data["decode"]),
            layout=_one_of(data["layout"], LAYOUTS),
            output_kind=_one_of(data["output_kind"], OUTPUT_KINDS),
            accuracy=_accuracy(data["accuracy"]),
            float_layers=_texts(data["float_layers"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"the contract cannot be read: {type(error).__name__} {error}",
            where,
            "export the model again with this version of the toolchain",
        ) from error
    return contract


def _preprocessing(data: dict[str, Any]) -> Preprocessing:
    found = Preprocessing(
        size=_whole(data["size"], 1, MAX_SIZE),
        mean=_real(data["mean"]),
        std=_positive(data["std"]),
        crop=_real(data["crop"], MIN_CROP, 1.0),
        channels=_text(data["channels"]),
        resize=_text(data["resize"]),
        kernel=_text(data["kernel"]),
    )
    known = Preprocessing(found.size, found.mean, found.std, found.crop)
    if found != known:
        raise ValueError(f"expected {known.to_json()}, received another preprocessing")
    return found


def _decoding(data: dict[str, Any]) -> Decoding:
    if data != dataclasses.asdict(Decoding()):
        raise ValueError(f"expected {dataclasses.asdict(Decoding())}, received another decoding")
    return Decoding()


def _accuracy(data: dict[str, Any] | None) -> Accuracy | None:
    if data is None:
        return None
    return Accuracy(
        split=_text(data["split"]),
        images=_whole(data["images"], 1, 1 << 62),
        top1=_real(data["top1"], 0.0, 1.0),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 4096:
        raise TypeError(f"expected text, received {type(value).__name__}")
    # Control characters would break labels.txt and steer a terminal; lone surrogates cannot be
    # written as UTF-8 at all.
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        raise ValueError("expected text without control characters")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or len(value) > MAX_FLOAT_LAYERS:
        raise ValueError(f"expected a list of at most {MAX_FLOAT_LAYERS} items")
    return tuple(map(_text, value))


def _one_of(value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"expected one of {', '.join(known)}, received {value!r:.40}")
    return str(value)


def _list(value: Any, most: int) -> list[Any]:
    if not isinstance(value, list) or not 0 < len(value) <= most:
        raise ValueError(f"expected a list of 1 to {most} items")
    return value


def _real(value: Any, low: float = -MAX_REAL, high: float = MAX_REAL) -> float:
    if type(value) not in (int, float) or not low <= value <= high:
        raise ValueError(f"expected a number, received {value!r:.40}")
    return float(value)


def _positive(value: Any) -> float:
    if not _real(value) >= 1 / MAX_REAL:
        raise ValueError(f"expected a number above zero, received {value!r:.40}")
    return float(value)


def _file_name(value: Any) -> str:
    """A name that stays in the folder it is joined to."""
    if Path(_text(value)).name != value or value in ("", ".", ".."):
        raise ValueError(f"expected a file name, received {value!r:.60}")
    return str(value)


def _whole(value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"expected {low} to {high}, received {value!r:.40}")
    return value


def _tensor(data: dict[str, Any]) -> TensorSpec:
    scale, zero_point = data["scale"], data["zero_point"]
    if (scale is None) != (zero_point is None):
        raise ValueError("expected scale and zero_point together")
    return TensorSpec(
        name=_text(data["name"]),
        shape=tuple(_whole(axis, -1, 1 << 31) for axis in _list(data["shape"], 8)),
        dtype=_one_of(data["dtype"], ("float32", "uint8")),
        scale=None if scale is None else _positive(scale),
        zero_point=None if zero_point is None else _whole(zero_point, 0, 255),
    )


def labels_text(labels: tuple[str, ...]) -> str:
    """The text of labels.txt: a class a line, in the order of the output's last axis."""
    return "".join(f"{label}\n" for label in labels)


@dataclass(frozen=True, slots=True)
class ContractEntry:
    """One file's line in contract.json."""

    sha256: str
    bytes: int
    contract: Contract


def write_contract_file(entries: dict[str, ContractEntry]) -> str:
    """The text of contract.json: every file beside it with its hash and its contract."""
    files = {
        name: {"sha256": e.sha256, "bytes": e.bytes, "contract": e.contract.to_json()}
        for name, e in entries.items()
    }
    return json.dumps({"schema": SCHEMA, "files": files}, indent=1, ensure_ascii=False) + "\n"


def read_contract_file(folder: Path) -> dict[str, ContractEntry]:
    """The entries of `folder`/contract.json.

    Raises:
      ModelError: it is missing or not a contract file.
    """
    path = folder / CONTRACT_FILE
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CONTRACT_FILE_BYTES + 1)
        if len(text) > MAX_CONTRACT_FILE_BYTES:
            raise ValueError(f"more than {MAX_CONTRACT_FILE_BYTES:,} bytes")
        data = json.loads(text)
        if data["schema"] != SCHEMA:
            raise ValueError(f"expected schema {SCHEMA}")
        return {
            _file_name(name): ContractEntry(
                _text(entry["sha256"]),
                _whole(entry["bytes"], 0, 1 << 62),
                parse_contract(json.dumps(entry["contract"], ensure_ascii=False), str(path)),
            )
            for name, entry in data["files"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"the contract file cannot be read: {reason(error)}",
            str(path),
            "give the folder of an export, or export the model again",
        ) from error
