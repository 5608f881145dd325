"""The drawings of our pages, each a function that gives an `<svg>` text for light, dark and paper.

Rules: lines and points are named where they are, not in a legend; whatever was counted on a sample
has its interval; blue and orange, told apart by shape as well; no ink that says nothing.
"""

from toolchain.report.drawings.curves import training_curves
from toolchain.report.drawings.intervals import Dot, Row, interval_rows
from toolchain.report.drawings.layers import layer_errors
from toolchain.report.drawings.matrix import FEW_CLASSES, MAX_CLASSES, confusion_matrix
from toolchain.report.drawings.reliability import reliability
from toolchain.report.drawings.tradeoff import Point, tradeoff

__all__ = [
    "FEW_CLASSES",
    "MAX_CLASSES",
    "Dot",
    "Point",
    "Row",
    "confusion_matrix",
    "interval_rows",
    "layer_errors",
    "reliability",
    "tradeoff",
    "training_curves",
]
