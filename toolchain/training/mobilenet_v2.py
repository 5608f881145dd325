"""MobileNetV2 as one flat graph, with the layer names of Keras applications.

Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, arXiv 1801.04381, table 2.
"""

from __future__ import annotations

from typing import Any, Final

from tf_keras import layers

from toolchain.training.distribution import is_distributed

# (expansion, channels, repeats, stride) of the bottleneck groups.
_GROUPS: Final = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(inputs: Any, alpha: float, momentum: float) -> Any:
    """The convolutional part.

    Keras pads by hand before each stride of 2; for every input size that equals TensorFlow's
    "same" padding, which the phone runtimes do inside the convolution.

    Args:
      inputs: float32 [batch, size, size, 3].
      alpha: width multiplier.
      momentum: of every BatchNormalization's moving statistics.

    Returns:
      float32 [batch, ceil(size / 32), ceil(size / 32), channels]; 1280 channels up to alpha 1.
    """
    x = layers.Conv2D(
        _divisible(32 * alpha), 3, strides=2, padding="same", use_bias=False, name="Conv1"
    )(inputs)
    x = _norm_relu(x, "bn_Conv1", "Conv1_relu", momentum)
    block = 0
    for expansion, channels, repeats, stride in _GROUPS:
        for repeat in range(repeats):
            x = _bottleneck(
                x,
                expansion,
                _divisible(channels * alpha),
                stride if repeat == 0 else 1,
                block,
                momentum,
            )
            block += 1
    last = _divisible(1280 * alpha) if alpha > 1.0 else 1280
    x = layers.Conv2D(last, 1, use_bias=False, name="Conv_1")(x)
    return _norm_relu(x, "Conv_1_bn", "out_relu", momentum)


def _bottleneck(
    inputs: Any, expansion: int, channels: int, stride: int, block: int, momentum: float
) -> Any:
    prefix = f"block_{block}_" if block else "expanded_conv_"
    x, width = inputs, int(inputs.shape[-1])
    if block:
        x = layers.Conv2D(expansion * width, 1, use_bias=False, name=prefix + "expand")(x)
        x = _norm_relu(x, prefix + "expand_BN", prefix + "expand_relu", momentum)
    x = layers.DepthwiseConv2D(
        3, strides=stride, padding="same", use_bias=False, name=prefix + "depthwise"
    )(x)
    x = _norm_relu(x, prefix + "depthwise_BN", prefix + "depthwise_relu", momentum)
    x = layers.Conv2D(channels, 1, use_bias=False, name=prefix + "project")(x)
    x = _norm(x, prefix + "project_BN", momentum)
    if stride == 1 and width == channels:
        return layers.Add(name=prefix + "add")([inputs, x])
    return x


def _norm_relu(x: Any, norm: str, relu: str, momentum: float) -> Any:
    return layers.ReLU(6.0, name=relu)(_norm(x, norm, momentum))


def _norm(x: Any, name: str, momentum: float) -> Any:
    return layers.BatchNormalization(
        epsilon=1e-3, momentum=momentum, synchronized=is_distributed(), name=name
    )(x)


def _divisible(value: float, divisor: int = 8) -> int:
    """Round to a multiple of `divisor`, never by more than 10 % down (the published rule)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded
