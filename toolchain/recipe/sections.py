"""The keys of a recipe, their defaults and bounds: the one place where they are written down."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from toolchain.recipe.backbones import BACKBONES
from toolchain.recipe.setting import setting


@dataclass(frozen=True, slots=True)
class LimitSection:
    """[data.limit]: at most so many images of a split, classes in proportion; None takes all."""

    train: int | None = setting(None, "train images", low=1, high=100_000_000)
    validation: int | None = setting(None, "validation images", low=1, high=100_000_000)
    test: int | None = setting(None, "test images", low=1, high=100_000_000)


# Sources that need no data.path: they bring their images along.
WITHOUT_PATH = ("digits", "tfds:")


@dataclass(frozen=True, slots=True)
class DataSection:
    """[data]: where the photos are and how they are split."""

    path: str = setting(
        "", "folder, archive, table or .npz; from here or from $TOOLCHAIN_DATA/datasets"
    )
    source: str = setting(
        "auto",
        "layout of the photos, or tfds:NAME; auto finds out",
        choices=(
            "auto",
            "folders",
            "split-folders",
            "kaggle-names",
            "places365",
            "table",
            "digit-csv",
            "npz",
            "digits",
        ),
        prefixes=("tfds:",),
    )
    validation: float = setting(0.15, "share held out for early stopping", low=0.01, high=0.8)
    test: float = setting(0.15, "share held out for verify and benchmark", low=0.01, high=0.8)
    split: str = setting(
        "content",
        "content: adding photos moves no other; rank: exact shares of every class",
        choices=("content", "rank"),
    )
    seed: int = setting(0, "changes which image falls into which split", low=0, high=2**31 - 1)
    on_bad_image: str = setting(
        "error", "stop at an unreadable image, or leave it out", choices=("error", "skip")
    )
    cache_gib: float = setting(
        16.0,
        "decoded photos that would take more are decoded while they are read",
        low=0.0,
        high=65536.0,
    )
    exclude: str = setting("", "text file with names of images to leave out, one a line")
    limit: LimitSection = field(default_factory=LimitSection)


@dataclass(frozen=True, slots=True)
class InputSection:
    """[input]: what the network is given."""

    size: int | None = setting(None, "width and height in pixels", low=32, high=1024)
    crop: float = setting(1.0, "share of both sides kept, in the middle", low=0.1, high=1.0)
    pixels: str = setting(
        "backbone",
        "range of the input: symmetric is about [-1, 1], unit is [0, 1], caffe is VGG16's own",
        choices=("backbone", "symmetric", "unit", "caffe"),
    )


@dataclass(frozen=True, slots=True)
class HeadSection:
    """[model.head]: what stands on the backbone."""

    pool: str = setting("avg", "how features become a vector", choices=("avg", "max", "flatten"))
    dense: tuple[int, ...] = setting((), "units of hidden dense layers", low=1, high=8192)
    activation: str = setting(
        "relu", "of the hidden dense layers", choices=("relu", "relu6", "linear")
    )
    batch_norm: str = setting(
        "none",
        "BatchNormalization in each hidden layer, before or after its activation",
        choices=("none", "before", "after"),
    )
    dropout: float | tuple[float, ...] = setting(
        0.2,
        "share dropped before each dense layer; a list has one for each, the output's at the end",
        low=0.0,
        high=0.95,
    )
    output: str = setting(
        "softmax",
        "softmax, one logit for two classes, or a sigmoid a class divided by their sum",
        choices=("softmax", "logit", "sigmoid"),
    )


@dataclass(frozen=True, slots=True)
class ModelSection:
    """[model]: the network."""

    backbone: str = setting("mobilenet_v2", "the network", choices=tuple(BACKBONES))
    alpha: float | None = setting(None, "width of MobileNetV2", low=0.35, high=1.4)
    blocks: tuple[int, ...] = setting(
        (), "channels of each block of a cnn: 3x3 convolution, ReLU, max pooling", low=1, high=4096
    )
    weights: str = setting(
        "imagenet", "imagenet, embedded, none, or the path of an .h5 or .safetensors file"
    )
    head: HeadSection = field(default_factory=HeadSection)


@dataclass(frozen=True, slots=True)
class AugmentSection:
    """[augment]: random changes of training images; all zero means none."""

    flip: bool = setting(False, "mirror left and right")
    rotation: float = setting(0.0, "up to so many degrees", low=0.0, high=180.0)
    zoom: float = setting(0.0, "up to this share in or out", low=0.0, high=0.9)
    shift: float = setting(0.0, "up to this share of the side", low=0.0, high=0.9)
    shear: float = setting(0.0, "up to this slope", low=0.0, high=1.0)
    brightness: float = setting(0.0, "up to this share of the range", low=0.0, high=1.0)
    contrast: float = setting(0.0, "up to this share", low=0.0, high=1.0)
    erase: float = setting(0.0, "cover a box of up to this share of the area", low=0.0, high=0.9)
    mixup: float = setting(
        0.0, "blend two photos and their labels: alpha of the Beta distribution", low=0.0, high=10.0
    )


SCHEDULES = ("constant", "cosine", "plateau")
VIEWS = "augmented views of each photo, whose features are computed once; 0: a new one each epoch"


@dataclass(frozen=True, slots=True)
class TrainSection:
    """[train]: the head on the frozen backbone, or the whole network when weights = "none"."""

    epochs: int = setting(20, "at most", low=1, high=10_000)
    batch_size: int = setting(32, "photos a step", low=1, high=4096)
    learning_rate: float = setting(1e-3, "at its highest", low=1e-8, high=10.0)
    optimizer: str = setting("adam", "adam or sgd with momentum 0.9", choices=("adam", "sgd"))
    schedule: str = setting("constant", "of the learning rate", choices=SCHEDULES)
    warmup_epochs: float = setting(0.0, "linear from zero", low=0.0, high=100.0)
    plateau_factor: float = setting(
        0.2, "of the rate, in either phase with schedule = plateau", low=0.001, high=0.99
    )
    plateau_epochs: int = setting(
        2, "without a better validation loss until the rate falls", low=1, high=10_000
    )
    weight_decay: float = setting(0.0, "L2 on kernels", low=0.0, high=1.0)
    label_smoothing: float = setting(0.0, "share spread over all classes", low=0.0, high=0.5)
    class_weights: str | Mapping[str, float] = setting(
        "none",
        "of photos in the loss: balanced, or a table [train.class_weights] of class = weight",
        low=0.0,
        high=10_000.0,
        choices=("none", "balanced"),
    )
    patience: int = setting(5, "epochs without a better validation loss", low=1, high=10_000)
    ema: float = setting(
        0.0, "decay of a moving average of weights, the ones kept; 0: none", low=0.0, high=0.99999
    )
    seed: int = setting(1, "of weights, order and augmentation", low=0, high=2**31 - 1)
    feature_views: int = setting(0, VIEWS, low=0, high=1000)
    features_gib: float = setting(
        16.0, "features that would take more are computed every epoch", low=0.0, high=65536.0
    )
    precision: str = setting(
        "float32",
        "of the arithmetic",
        choices=("float32", "mixed_float16", "mixed_bfloat16"),
    )
    xla: bool = setting(False, "compile the training step with XLA")


@dataclass(frozen=True, slots=True)
class FineTuneSection:
    """[fine_tune]: the last part of the backbone, trained at a lower rate; epochs = 0 skips it."""

    epochs: int = setting(5, "at most", low=0, high=10_000)
    learning_rate: float = setting(1e-4, "at its highest", low=1e-9, high=10.0)
    schedule: str = setting("cosine", "of the learning rate", choices=SCHEDULES)
    warmup_epochs: float = setting(0.0, "linear from zero", low=0.0, high=100.0)
    depth_factor: float = setting(
        1.0, "from one block of the backbone to the one before it, of the rate", low=0.01, high=1.0
    )
    start: str | int | float | None = setting(
        None, "first trained layer: a block's or layer's name, an index, or a share kept frozen"
    )
    feature_views: int = setting(0, VIEWS, low=0, high=1000)


@dataclass(frozen=True, slots=True)
class CompressSection:
    """[compress]: smaller after zip; the whole network is trained so, and stays so in QAT."""

    sparsity: float = setting(
        0.0, "share of zeros in the kernels of convolutions and dense layers", low=0.0, high=0.95
    )
    clusters: int = setting(0, "different values a kernel; 0: any", low=0, high=256)
    epochs: int = setting(4, "of pruning, and of clustering", low=2, high=10_000)
    learning_rate: float = setting(1e-4, "of both", low=1e-8, high=1.0)


@dataclass(frozen=True, slots=True)
class QuantizeSection:
    """[quantize]: quantization-aware training, started from calibrated ranges."""

    epochs: int = setting(2, "of int8-qat at most", low=0, high=1000)
    learning_rate: float = setting(1e-5, "constant", low=1e-9, high=1.0)
    # Measured before training, minmax / percentile / mse: cats-vs-dogs (1,002 test photos, 98.20 %
    # in float) 98.10 / 98.20 / 98.00 %, logits 20.5 / 20.7 / 20.8 dB above their error; those of
    # digits 32.2 / 33.2 / 33.4 dB. See docs/quantization.md.
    ranges: str = setting(
        "percentile",
        "of activations: all values, all but 1 in 10,000, or the least squared error",
        choices=("minmax", "percentile", "mse"),
    )
    distillation: float = setting(
        0.0, "share of the loss that asks for the float model's answers", low=0.0, high=1.0
    )
    calibration_images: int = setting(640, "taken from the train split", low=1, high=100_000)
    skip_layers: tuple[str, ...] = setting(
        (), "layers that stay float, named as in quantize/sensitivity.json, such as block_1_expand"
    )
    fallback: int = setting(
        0,
        "layers more that may stay float where the accuracy gate fails on the validation split",
        low=0,
        high=64,
    )


# float32; float16 weights; int8 weights (dynamic range); all int8, calibrated or trained so.
PRECISIONS = ("fp32", "fp16", "w8", "int8-ptq", "int8-qat")
ONNX_FORMS = ("qdq-u8s8", "qdq-s8s8", "qdq-u8u8", "qdq-u8s7", "qoperator-u8s8")


@dataclass(frozen=True, slots=True)
class ExportSection:
    """[export]: which files are written."""

    formats: tuple[str, ...] = setting(
        ("tflite", "onnx"), "file formats", choices=("tflite", "onnx")
    )
    precisions: tuple[str, ...] = setting(
        ("fp32", "int8-qat"), "precisions; int8-qat alone needs training", choices=PRECISIONS
    )
    int8_io: str = setting(
        "float32",
        "input and output of the int8 TFLite file: float32, or uint8 that takes raw RGB bytes",
        choices=("float32", "uint8"),
    )
    output: str = setting(
        "probabilities",
        "what comes out, in both formats",
        choices=("probabilities", "logits"),
    )
    opset: int = setting(17, "ONNX operator set", low=13, high=21)
    onnx_layout: str = setting("nhwc", "order of the ONNX input's axes", choices=("nhwc", "nchw"))
    onnx_input: str = setting(
        "float32",
        "ONNX input: float32, or uint8 that takes raw RGB bytes and normalises in the graph",
        choices=("float32", "uint8"),
    )
    onnx_form: str = setting(
        "auto",
        "of int8 ONNX files; auto: what toolchain quantize --tune-onnx kept, or else qdq-u8s8",
        choices=("auto", *ONNX_FORMS),
    )
    onnx_static: bool = setting(False, "beside each ONNX file one for batches of one, .b1.onnx")


@dataclass(frozen=True, slots=True)
class VerifySection:
    """[verify]: the gates; accuracy in points (0.5 means half a percentage point)."""

    fp32_difference: float = setting(
        1e-4, "largest probability difference of fp32 files", low=0.0, high=1.0
    )
    fp16_difference: float = setting(
        0.02, "largest probability difference of fp16 files", low=0.0, high=1.0
    )
    fp16_agreement: float = setting(
        0.995, "least top-1 agreement of fp16 files with the float model", low=0.0, high=1.0
    )
    w8_difference: float = setting(
        0.05, "mean over photos of the largest difference, w8 files", low=0.0, high=1.0
    )
    w8_agreement: float = setting(
        0.98, "least top-1 agreement of w8 files with the float model", low=0.0, high=1.0
    )
    int8_difference: float = setting(
        0.02, "the same for int8 files and their network in integers", low=0.0, high=1.0
    )
    int8_agreement: float = setting(
        0.995, "least top-1 agreement of int8 files with their integers", low=0.0, high=1.0
    )
    accuracy_drop: float = setting(
        0.5, "most points a file may lose against fp32", low=0.0, high=100.0
    )
    ptq_accuracy_drop: float = setting(2.0, "the same for int8-ptq", low=0.0, high=100.0)
    images: int = setting(0, "drawn from the test split; 0 takes all", low=0, high=10_000_000)

    def points_lost(self, precision: str) -> float:
        """The accuracy gate of a precision: how many points its files may lose against fp32."""
        return self.ptq_accuracy_drop if precision == "int8-ptq" else self.accuracy_drop


@dataclass(frozen=True, slots=True)
class BenchmarkSection:
    """[benchmark]: how the exported files are timed, and what counts as a regression."""

    runtimes: tuple[str, ...] = setting(
        ("litert", "onnxruntime", "keras"),
        "what runs the files; keras times the float model they came from",
        choices=("litert", "onnxruntime", "keras"),
    )
    providers: tuple[str, ...] = setting(
        ("cpu",), "onnxruntime's execution providers", choices=("cpu", "cuda", "tensorrt")
    )
    threads: tuple[int, ...] = setting((1,), "threads a file is run with", low=1, high=256)
    batches: tuple[int, ...] = setting(
        (1, 8, 32), "images an inference: 1 is a single stream, more is offline", low=1, high=1024
    )
    processes: int = setting(10, "fresh processes a file is timed in", low=1, high=100)
    runs: int = setting(200, "timed inferences a file at least", low=10, high=1_000_000)
    seconds: float = setting(10.0, "timed a file at least", low=0.0, high=3600.0)
    width: float = setting(
        0.0, "half width of the median's interval to go on for, 0.01 is 1 %", low=0.0, high=1.0
    )
    warmup_seconds: float = setting(
        1.0, "not timed, at least ten runs; a fifth of it in later processes", low=0.0, high=600.0
    )
    latency_limit: float = setting(
        0.1, "share by which the median may grow against a baseline", low=0.0, high=10.0
    )
    accuracy_limit: float = setting(
        0.5, "points of top-1 that may be lost against a baseline", low=0.0, high=100.0
    )
    size_limit: float = setting(
        0.02, "share by which a file may grow against a baseline", low=0.0, high=10.0
    )


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole recipe; every `None` is filled in (see `defaults.resolve`)."""

    name: str
    data: DataSection = field(default_factory=DataSection)
    input: InputSection = field(default_factory=InputSection)
    model: ModelSection = field(default_factory=ModelSection)
    augment: AugmentSection = field(default_factory=AugmentSection)
    train: TrainSection = field(default_factory=TrainSection)
    fine_tune: FineTuneSection = field(default_factory=FineTuneSection)
    compress: CompressSection = field(default_factory=CompressSection)
    quantize: QuantizeSection = field(default_factory=QuantizeSection)
    export: ExportSection = field(default_factory=ExportSection)
    verify: VerifySection = field(default_factory=VerifySection)
    benchmark: BenchmarkSection = field(default_factory=BenchmarkSection)

    def int8_precisions(self) -> tuple[str, ...]:
        """Those of the precisions asked for that need calibrated ranges."""
        return tuple(one for one in self.export.precisions if one.startswith("int8"))

    def section(self, name: str) -> dict[str, Any]:
        """One section as plain data: what a stage that reads it depends on."""
        return dataclasses.asdict(getattr(self, name))

    def to_json(self) -> dict[str, Any]:
        """All of it as plain data."""
        return dataclasses.asdict(self)

    def sha256(self) -> str:
        """Hash of all settings, the same whatever order they were written in."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


SECTIONS: dict[str, type[Any]] = {
    one.name: type(one.default_factory())
    for one in dataclasses.fields(Recipe)
    if one.default_factory is not dataclasses.MISSING
}
