"""Which ops hand floats to each other: float layers among integers, and what is around them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flow:
    """What one op reads and writes.

    Attributes:
      is_float: whether it computes in float; ops that quantize and dequantize do not count.
      inputs, outputs: keys of its tensors.
    """

    is_float: bool
    inputs: Sequence[Hashable]
    outputs: Sequence[Hashable]


def regions_of(flows: Iterable[Flow]) -> list[int]:
    """A number for each op, the same for all that float values connect; 0 for integer ops.

    A constant that two ops read connects nothing.
    """
    ops = list(flows)
    writer = {key: place for place, op in enumerate(ops) if op.is_float for key in op.outputs}
    parents = list(range(len(ops)))

    def root(place: int) -> int:
        while parents[place] != place:
            parents[place] = parents[parents[place]]
            place = parents[place]
        return place

    for place, op in enumerate(ops):
        if op.is_float:
            for key in op.inputs:
                if key in writer:
                    parents[root(place)] = root(writer[key])
    return [root(place) + 1 if op.is_float else 0 for place, op in enumerate(ops)]
