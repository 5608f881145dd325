"""What a recipe may leave unsaid about each backbone, and what only some of them have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Backbone:
    """One network that a head can stand on.

    Attributes:
      size: default width and height of the input.
      pixels: default range of the input.
      start: where fine-tuning starts by default. Where the tutorials that people copy do:
        MobileNetV2 at about layer 100 of 154, which is inside block 11; VGG16 at its last block.
      has_alpha: its width is `model.alpha`.
      blocks: default of `model.blocks`; empty where the backbone has blocks of its own.
      is_published: ImageNet weights of it can be had.
    """

    size: int
    pixels: str
    start: str
    has_alpha: bool = False
    blocks: tuple[int, ...] = ()
    is_published: bool = True


BACKBONES: Final = {
    "mobilenet_v2": Backbone(160, "symmetric", "block_11_expand", has_alpha=True),
    "vgg16": Backbone(150, "caffe", "block5_conv1"),
    "cnn": Backbone(150, "unit", "block1_conv1", blocks=(16, 64, 128), is_published=False),
}
