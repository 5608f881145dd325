"""A data set that tensorflow-datasets has prepared on this machine: `source = "tfds:NAME"`.

Nothing is downloaded here. Images are taken as stored and decoded by our own decoder.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from toolchain.data.sources.base import Layout, check_classes
from toolchain.data.sources.items import Item, Items
from toolchain.data.sources.split_names import SPLIT_NAMES
from toolchain.data.stamps import hash_stamps, status_of
from toolchain.errors import DataError, MachineError
from toolchain.values import Split

PREFIX: Final = "tfds:"
_PACKAGE: Final = "tensorflow-datasets"


def fingerprint(source: str) -> str:
    """Changes with the name, with the installed version, and when the data are prepared anew.

    `tfds:mnist:3.0.1` pins the data's own version.
    """
    try:
        version = importlib.metadata.version(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        version = "not installed"
    prepared = hash_stamps((str(path), status_of(str(path))) for path in _prepared(source))
    return hashlib.sha256(f"{source}\0{version}\0{prepared}".encode()).hexdigest()


def _prepared(source: str) -> list[Path]:
    """What the library wrote last of each version and configuration of the data set.

    Looked for where the library does by itself, without importing it, which takes seconds.
    """
    root = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    name = re.split("[:/]", source.removeprefix(PREFIX))[0]
    folder = Path(os.path.expanduser(root)) / name  # noqa: PTH111 - as the library does
    return sorted(path for at in ("*", "*/*") for path in folder.glob(f"{at}/dataset_info.json"))


class TfdsSource:
    """Labelled images of a prepared data set; a split of another name than ours is split anew."""

    def __init__(self, builder: Any, tfds: Any, name: str) -> None:
        self._builder, self._tfds, self._name = builder, tfds, name
        keys = builder.info.supervised_keys
        label: Any = builder.info.features[keys[1]] if keys else None
        if not hasattr(label, "int2str"):
            raise DataError(
                "expected a data set of images with one class each", name, "choose another data set"
            )
        self._image, self._label = keys[:2]
        self._class_of = label.int2str
        items = Items.of(self._items())
        filled = set(items.classes.values)
        names = (str(label.int2str(number)) for number in range(label.num_classes))
        classes = tuple(class_name for class_name in names if class_name in filled)
        check_classes(classes, name, "choose another data set")
        self.layout = Layout("tfds", classes, items, (f"data set {builder.info.full_name}",))

    def read(self) -> Iterator[tuple[Item, bytes]]:
        """See `Source.read`; the bytes are the PNG or JPEG as stored."""
        rows = (row for _, row in self._rows())
        for item, row in zip(self.layout.items, rows, strict=True):
            yield item, bytes(row[self._image])

    def _items(self) -> Iterator[Item]:
        splits = self._builder.info.splits
        numbers = dict.fromkeys(splits, 0)
        for split, row in self._rows():
            label = self._class_of(int(row[self._label]))
            yield Item(f"{split}/{numbers[split]:07}", label, _given(split, splits))
            numbers[split] += 1

    def _rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for split in sorted(self._builder.info.splits):
            if split == "unsupervised":
                continue
            data = self._builder.as_dataset(
                split=split,
                shuffle_files=False,
                decoders={self._image: self._tfds.decode.SkipDecoding()},
            )
            yield from ((split, row) for row in self._tfds.as_numpy(data))


def open_tfds(source: str) -> TfdsSource:
    """The data set of `tfds:NAME`, which must lie prepared on this machine.

    Raises:
      MachineError: tensorflow-datasets is not installed.
      DataError: the name is unknown, the data is not prepared, or has no images with a class.
    """
    name = source.removeprefix(PREFIX)
    try:
        tfds = importlib.import_module("tensorflow_datasets")
    except ImportError as error:
        raise MachineError(
            f"{source} needs {_PACKAGE}, which is not installed ({error})",
            "data.source",
            f"pip install {_PACKAGE}",
        ) from error
    try:
        builder = tfds.builder(name)
    # The library's own errors for an unknown name are ImportError and ValueError by descent.
    except (ImportError, ValueError, OSError) as error:
        raise DataError(
            f"tensorflow-datasets knows no {name!r}: {str(error).splitlines()[0][:120]}",
            "data.source",
            "see its catalogue for the names",
        ) from error
    # The splits of a set that is not prepared can be known too, from the library's own records.
    if not builder.info.splits or not Path(str(builder.data_dir)).is_dir():
        raise DataError(
            f"the data set {name!r} is not prepared on this machine, and is not downloaded here",
            str(builder.data_dir),
            f"prepare it once: tfds build {name}",
        )
    return TfdsSource(builder, tfds, source)


def _given(split: str, splits: Any) -> Split | None:
    # One split called "train" is all there is, and no decision of its authors.
    return SPLIT_NAMES.get(split) if len(splits) > 1 else None
