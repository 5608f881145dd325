"""Which names of columns, folders and tables mean a split."""

from __future__ import annotations

import re
from typing import Final

from toolchain.values import Split

SPLIT_NAMES: Final[dict[str, Split]] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
# Words that stand beside a split's name and say nothing: training_set, seg_train, test_images.
_FILLERS: Final = frozenset(
    {"set", "sets", "seg", "image", "images", "img", "imgs", "jpg", "jpeg", "png"}
    | {"data", "dataset", "photo", "photos", "pictures", "split"}
)
_TO_PREDICT: Final = frozenset({"pred", "predict", "prediction", "predictions"})
_UNLABELLED: Final = _TO_PREDICT | {"unlabeled", "unlabelled"}


def split_of(name: str) -> Split | None:
    """The split that a folder's name means, with what says nothing: `seg_test`, `test1`."""
    words = _words(name)
    return SPLIT_NAMES.get(words[0].removesuffix("set")) if len(words) == 1 else None


def is_to_predict(name: str) -> bool:
    """Whether a folder's name says that its photos have no class: `pred`, `seg_pred`."""
    words = _words(name)
    return len(words) == 1 and words[0] in _UNLABELLED


def split_in(name: str) -> Split | None:
    """The split that a table's name tells among other words: `fashion-mnist_train`."""
    found = {SPLIT_NAMES[word] for word in _words(name) if word in SPLIT_NAMES}
    return found.pop() if len(found) == 1 else None


def _words(name: str) -> list[str]:
    words = re.split(r"[^a-z]+", name.lower())
    return [word for word in words if word and word not in _FILLERS]
