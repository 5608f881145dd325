"""Where a recipe's images come from: a container with a layout, or scikit-learn's digits."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import Final

import numpy as np
from PIL import Image

from toolchain.data.containers import Container, open_container
from toolchain.data.layouts import Item, Layout, recognise
from toolchain.errors import MachineError
from toolchain.models import locate
from toolchain.recipe import Recipe


class Source:
    """Labelled images in their original bytes."""

    layout: Layout

    def read(self) -> Iterator[tuple[Item, bytes]]:
        """Every image once, in a fixed order."""
        raise NotImplementedError


class ContainerSource(Source):
    """Images in a folder or archive."""

    def __init__(self, container: Container, layout: Layout) -> None:
        self.container = container
        self.layout = layout

    def read(self) -> Iterator[tuple[Item, bytes]]:
        """See `Source.read`; the order is the container's."""
        items = {item.name: item for item in self.layout.items}
        for name, data in self.container.read(items.keys()):
            yield items[name], data


class DigitsSource(Source):
    """The 1,797 handwritten digits that scikit-learn ships: 8x8 grey, 0..16, as PNG bytes.

    E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI repository, 1998.
    """

    def __init__(self) -> None:
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise MachineError(
                "the digits come with scikit-learn, which is not installed",
                "data.source",
                "pip install 'toolchain[train]'",
            ) from error
        data = load_digits()
        self._images = (data.images * (255 / 16)).round().astype(np.uint8)
        names = tuple(str(digit) for digit in range(10))
        items = tuple(
            Item(f"{label}/{position:04}.png", str(label))
            for position, label in enumerate(data.target)
        )
        self.layout = Layout("digits", names, items)

    def read(self) -> Iterator[tuple[Item, bytes]]:
        """See `Source.read`."""
        for item, pixels in zip(self.layout.items, self._images, strict=True):
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            yield item, buffer.getvalue()


_DIGITS_FINGERPRINT: Final = hashlib.sha256(b"scikit-learn digits, 1797 images").hexdigest()


def fingerprint(recipe: Recipe) -> str:
    """Changes when the recipe's images do; cheap, for the "up to date" test."""
    if recipe.data.source == "digits":
        return _DIGITS_FINGERPRINT
    return open_container(locate(recipe.data.path, "datasets")).fingerprint()


def open_source(recipe: Recipe) -> Source:
    """The images that the recipe names.

    Raises:
      DataError: nothing there, no known layout, fewer than two classes, an empty class.
      MachineError: digits without scikit-learn.
    """
    if recipe.data.source == "digits":
        return DigitsSource()
    container = open_container(locate(recipe.data.path, "datasets"))
    layout = recognise(container.entries(), recipe.data.source, str(container.path))
    return ContainerSource(container, layout)
