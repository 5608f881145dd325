"""The 1,797 handwritten digits that scikit-learn ships: 8x8 grey.

E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI repository, 1998.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np

from toolchain.data.sources.base import ArraySource, Layout
from toolchain.data.sources.items import Item, Items
from toolchain.errors import MachineError

FINGERPRINT: Final = hashlib.sha256(b"scikit-learn digits, 1797 images").hexdigest()


def open_digits() -> ArraySource:
    """All digits, their values 0..16 spread over 0..255.

    Raises:
      MachineError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MachineError(
            "the digits come with scikit-learn, which is not installed",
            "data.source",
            "pip install 'toolchain[train]'",
        ) from error
    data = load_digits()
    images = (data.images * (255 / 16)).round().astype(np.uint8)
    items = Items.of(
        Item(f"{label}/{position:04}.png", str(label)) for position, label in enumerate(data.target)
    )
    return ArraySource(Layout("digits", tuple("0123456789"), items), lambda: images)
