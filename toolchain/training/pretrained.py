"""Which weights file a recipe means: embedded, ImageNet, or the user's own."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from toolchain.errors import MachineError, ModelError
from toolchain.files import sha256_file, write_bytes, write_text
from toolchain.models import embedded_backbone, expanded, locate
from toolchain.recipe import Recipe
from toolchain.terminal import say, working

_BASE: Final = "https://storage.googleapis.com/tensorflow/keras-applications"
# Keras publishes an MD5 for VGG16 and none for MobileNetV2 (tf_keras 2.21 applications/vgg16.py);
# the sha256 of a first download is kept beside it and compared ever after.
_VGG16_MD5: Final = "6d6bbae143d832006294945121d1f1fc"
_PUBLISHED_SIZES: Final = (96, 128, 160, 192, 224)
_MAX_DOWNLOAD: Final = 600 * 1024**2
_OTHER_WAYS: Final = (
    'set model.weights to "embedded", to the path of an .h5 or .safetensors file, or to "none"; '
    "or put the file into $TOOLCHAIN_DATA/weights"
)


def weights_path(recipe: Recipe) -> Path | None:
    """The file with the backbone's weights; None for "none".

    ImageNet weights are looked for in $TOOLCHAIN_DATA/weights and in Keras' cache, then downloaded.

    Raises:
      ModelError: a file that the recipe names is missing, or a cached download was changed.
      MachineError: the download fails.
    """
    weights = recipe.model.weights
    if weights == "none":
        return None
    if weights == "embedded":
        return embedded_backbone()
    if weights == "imagenet":
        return find_imagenet(recipe) or _download(recipe)
    path = locate(weights, "weights")
    if not path.is_file():
        raise ModelError("expected a weights file, found none", str(path), _OTHER_WAYS)
    return path


def find_imagenet(recipe: Recipe) -> Path | None:
    """ImageNet weights that are already on this machine."""
    shared, published = _file_names(recipe)
    root = os.environ.get("TOOLCHAIN_DATA")
    if root:
        path = expanded(root) / "weights" / shared
        if path.is_file():
            return path
    path = _cache() / published
    if not path.is_file():
        return None
    recorded = path.with_name(path.name + ".sha256")
    if recorded.is_file() and recorded.read_text().strip() != sha256_file(path):
        raise ModelError("the file is not the one that was downloaded", str(path), "delete it")
    return path


def _cache() -> Path:
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    return Path(home) / "models"


def _file_names(recipe: Recipe) -> tuple[str, str]:
    """The short name in $TOOLCHAIN_DATA/weights, and the one that Keras publishes."""
    if recipe.model.backbone == "vgg16":
        return "vgg16_no_top.h5", "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    size, alpha = recipe.input.size, recipe.model.alpha
    # Convolutions fit any size. Those wider than 1 were published for the largest alone
    # (tf_keras 2.21 applications/mobilenet_v2.py).
    if size not in _PUBLISHED_SIZES or float(alpha or 1.0) > 1.0:
        size = 224
    return (
        f"mobilenet_v2_{alpha}_{size}_no_top.h5",
        f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{size}_no_top.h5",
    )


def _download(recipe: Recipe) -> Path:
    name = _file_names(recipe)[1]
    url = f"{_BASE}/{recipe.model.backbone}/{name}"
    path = _cache() / name
    try:
        with working(f"downloading {name}"):
            request = urllib.request.urlopen(url, timeout=30)  # noqa: S310 - the constant above
            with request as response:
                data = response.read(_MAX_DOWNLOAD + 1)
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise MachineError(
            f"ImageNet weights cannot be downloaded: {reason}", url, _OTHER_WAYS
        ) from error
    if len(data) > _MAX_DOWNLOAD:
        raise MachineError("the download is larger than any published backbone", url, _OTHER_WAYS)
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if recipe.model.backbone == "vgg16" and md5 != _VGG16_MD5:
        raise MachineError(f"expected MD5 {_VGG16_MD5}, received {md5}", url, "try again")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, data)
    sha256 = hashlib.sha256(data).hexdigest()
    write_text(path.with_name(name + ".sha256"), sha256 + "\n")
    say(f"downloaded {name}, sha256 {sha256}")
    return path


def weights_fingerprint(recipe: Recipe) -> str:
    """Hash of the weights file, for the "up to date" test; "none" where there is none.

    It is downloaded for that: a hash that came with the first training would make it another's.

    Raises:
      ModelError, MachineError: see `weights_path`.
    """
    path = weights_path(recipe)
    return "none" if path is None else sha256_file(path)
