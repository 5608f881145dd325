"""What a layer computes with, told from the types of its weights and of the data around it."""

from __future__ import annotations

from typing import Final

BITS: Final = {
    "int2": 2,
    "uint2": 2,
    "int4": 4,
    "uint4": 4,
    "int8": 8,
    "uint8": 8,
    "int16": 16,
    "uint16": 16,
}
INTEGERS: Final = frozenset(BITS)
_FLOATS: Final = {"float32": "fp32", "float16": "fp16", "float64": "fp64", "bfloat16": "bf16"}
_MEANS: Final = {
    "fp32": "float32 weights and arithmetic",
    "fp16": "float16 weights",
    "fp64": "float64 weights and arithmetic",
    "bf16": "bfloat16 weights",
    "w8": "int8 weights with float activations (dynamic range)",
    "int8": "int8 weights and activations",
    "mixed": "integer and float parts that do not meet",
}


def kind_of(weights: str, activation_in: str, activation_out: str) -> str:
    """One word for what a layer computes with.

    - "fp32", "fp16", "fp64", "bf16": floats, named after the weights.
    - "int8": weights and activations of 8 bits.
    - "w8", "w4": weights of so many bits, float activations.
    - "w8a16", "w4a8": weights of 8 bits and activations of up to 16, of 4 and of up to 8.
    - "mixed": an integer side and a float side, or a type that is none of these.
    """
    around = [BITS[dtype] for dtype in (activation_in, activation_out) if dtype in BITS]
    if weights not in BITS:
        return "mixed" if around else _FLOATS.get(weights, "mixed")
    if len(around) == 1:
        return "mixed"
    width = f"w{BITS[weights]}"
    if not around:
        return width
    found = f"{width}a{max(around)}"
    return "int8" if found == "w8a8" else found


def meaning(kind: str) -> str:
    """A kind that `kind_of` gives, in words."""
    if kind in _MEANS:
        return _MEANS[kind]
    weights, _, activations = kind.removeprefix("w").partition("a")
    around = f"activations of up to {activations} bits" if activations else "float activations"
    return f"{weights}-bit weights with {around}"
