"""MediaPipe's ImageClassifier as a client: a picture in, the scores of all classes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from toolchain.images.decode import open_rgb


def classifier(path: Path) -> Any:
    """A .tflite file, opened; use it in a `with`."""
    from mediapipe.tasks import python as tasks
    from mediapipe.tasks.python import vision

    options = vision.ImageClassifierOptions(tasks.BaseOptions(model_asset_path=str(path)))
    return vision.ImageClassifier.create_from_options(options)


def categories(opened: Any, pixels: np.ndarray, edge: float = 0.0) -> list[Any]:
    """Its answer about uint8 [height, width, 3], best class first.

    The share `edge` of each side is left out at either end, as the code of the bundles does it.
    """
    import mediapipe
    from mediapipe.tasks.python.components.containers.rect import RectF
    from mediapipe.tasks.python.vision.core.image_processing_options import ImageProcessingOptions

    image = mediapipe.Image(mediapipe.ImageFormat.SRGB, np.ascontiguousarray(pixels))
    options = ImageProcessingOptions(RectF(left=edge, top=edge, right=1 - edge, bottom=1 - edge))
    return opened.classify(image, options).classifications[0].categories


def scores(opened: Any, pixels: np.ndarray, edge: float = 0.0) -> np.ndarray:
    """The same as float64 [classes], in the order of the model's output."""
    found = sorted(categories(opened, pixels, edge), key=lambda c: c.index)
    return np.asarray([c.score for c in found])


def read_photo(path: Path) -> np.ndarray:
    """Decoded and upright, as an app would hand it over: uint8 [height, width, 3]."""
    return np.asarray(open_rgb(path.read_bytes(), path.name))
