"""Photos decoded when they are asked for, when storing all of them decoded takes too much room."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from toolchain.data.access import Fetch
from toolchain.data.parallel import threads
from toolchain.errors import DataError
from toolchain.images.decode import held_rgb
from toolchain.images.preprocess import Frame, resize
from toolchain.images.stored import PixelReader


class StreamedPixels(PixelReader):
    """The same photos as a cache would hold, from the same decoder; each is held to its hash."""

    def __init__(
        self, fetch: Fetch, names: Sequence[str], sha256: Sequence[str], frame: Frame
    ) -> None:
        super().__init__(len(names), frame.size)
        self._frame = frame
        self._fetch, self._names, self._sha256 = fetch, names, sha256
        self._pool = ThreadPoolExecutor(max_workers=threads(), thread_name_prefix="decode")

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """See `PixelReader.read`.

        Raises:
          DataError: a photo was changed or taken away since the data stage.
        """
        photos = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for place, photo in enumerate(self._pool.map(self._decode, rows.tolist())):
            photos[place] = photo
        return photos

    def _decode(self, row: int) -> NDArray[np.uint8]:
        name = self._names[row]
        with held_rgb(self._fetch(name), name) as image:
            pixels = np.ascontiguousarray(resize(image, self._frame))
        if hashlib.sha256(pixels.data).hexdigest() != self._sha256[row]:
            raise DataError("the photo was changed after it was read", name, "run: make train")
        return pixels
