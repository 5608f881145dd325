"""Bundle: exported files with the code that a developer of one kind pastes in.

Right of the waist: files, contracts and evidence are copied and put into words; nothing is run,
and TensorFlow is not needed. What is pasted lies in templates/ as real files.
"""

from toolchain.bundle.bundle import make_bundle
from toolchain.bundle.kinds import KINDS
from toolchain.bundle.offer import Bundle, Offer

__all__ = ["KINDS", "Bundle", "Offer", "make_bundle"]
