"""Which layers stay float in files of integers: those a recipe names, and the worst ones where the
accuracy gate does not hold without; and what that costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from toolchain.evidence import LayerError
from toolchain.quantization.graph import WITH_WEIGHTS, Graph
from toolchain.quantization.shapes import output_shapes
from toolchain.terminal import say

# A weight as float32 instead of int8; biases have four bytes in either.
_MORE_BYTES: Final = 3
# A layer has more noise from its output's rounding than from its kernel's, if without the former
# it would be this much better: half of the power.
_HALF_DB: Final = 10 * np.log10(2)


@dataclass(frozen=True, slots=True)
class Gate:
    """The accuracy gate of one precision, on the validation split.

    Attributes:
      images: how many there are.
      float_right: how many of them the float network calls right.
      points: most points of accuracy that may be lost, as verify's own gate has it.
    """

    images: int
    float_right: int
    points: float

    def lost(self, right: int) -> int:
        """How many fewer are right than in float."""
        return self.float_right - right

    def holds(self, right: int) -> bool:
        """Counted in images, as verify counts."""
        return self.lost(right) * 100 <= self.points * self.images


@dataclass(frozen=True, slots=True, eq=False)
class Fallback:
    """What was found.

    Attributes:
      graph: with the layers kept float that helped; the one that was given where none did.
      right: how many validation images it calls right.
      story: what was tried, one sentence; empty where nothing had to be.
    """

    graph: Graph
    right: int
    story: str


def fall_back(
    graph: Graph,
    errors: Sequence[LayerError],
    most: int,
    right: Callable[[Graph], int],
    gate: Gate,
    fixed: Collection[str] = (),
) -> Fallback:
    """Keep the worst layers float, one after the other, until the gate holds or there are `most`.

    One by one and not doubled: a try is one look at the validation split, while a layer that is
    float without need costs time at every inference of the file.

    Args:
      graph: the network as it is to be without any of this.
      errors: of its layers, the worst first.
      most: how many layers may become float.
      right: counts the validation images that a graph calls right when it is rounded.
      gate: what has to hold.
      fixed: layers that must stay integer.
    """
    tried = [(graph, right(graph))]
    for kept in _candidates(graph, errors, most, fixed):
        if gate.holds(tried[-1][1]):
            break
        tried.append((kept, right(kept)))
        new = ", ".join(_added(tried[-2][0], kept))
        say(f"fallback: {new} float, {_than_float(gate.lost(tried[-1][1]))}")
    # Where nothing was enough, the fewest layers of the most accurate: no cost without a use.
    chosen, count = tried[-1] if gate.holds(tried[-1][1]) else max(tried, key=lambda one: one[1])
    if gate.holds(tried[0][1]):
        return Fallback(chosen, count, "")
    added = ", ".join(_added(graph, chosen)) or "no layer"
    end = "" if gate.holds(count) else ", which is still more than the gate allows"
    story = (
        f"of {gate.images:,} validation photos {_than_float(gate.lost(tried[0][1]))}, "
        f"{gate.points:g} points are allowed; with {added} kept float "
        f"{_than_float(gate.lost(count))}{end}"
    )
    return Fallback(chosen, count, story)


def _than_float(lost: int) -> str:
    if not lost:
        return "as many are right as in float"
    return f"{abs(lost)} {'fewer' if lost > 0 else 'more'} are right than in float"


def _candidates(
    graph: Graph, errors: Sequence[LayerError], most: int, fixed: Collection[str]
) -> Iterator[Graph]:
    """The graph with ever more layers float, `most` at the end, and never all."""
    kept, layers = graph, sum(node.op in WITH_WEIGHTS for node in graph.nodes)
    for error in errors:
        room = most - len(_added(graph, kept))
        if room < 1:
            return
        group = _together(kept, error) - {*fixed, *kept.float_layers()}
        if len(group) > room:
            group &= {error.layer}
        if len(group) + len(kept.float_layers()) == layers:
            return
        if group:
            kept = kept.keep_float(group)
            yield kept


def _together(graph: Graph, error: LayerError) -> set[str]:
    """The layers that have to be float for the noise of one to go.

    Where the rounding of its output makes more of the noise than that of its kernel, it does not
    help to compute it in float alone: its output keeps its 8 bits while an integer layer reads it.
    """
    found = {error.layer}
    if error.kernel_db - error.sqnr_db <= _HALF_DB:
        return found
    seen, ahead = set(), [node.name for node in graph.consumers(error.layer)]
    weights = {node.name for node in graph.nodes if node.op in WITH_WEIGHTS}
    while ahead:
        name = ahead.pop()
        if name in weights:
            found.add(name)
        elif name not in seen:
            seen.add(name)
            ahead += graph.neighbours(name)
    return found


def _added(graph: Graph, kept: Graph) -> list[str]:
    before = graph.float_layers()
    return [name for name in kept.float_layers() if name not in before]


def cost(graph: Graph) -> str:
    """What float layers cost, in words; empty where there are none."""
    names = graph.float_layers()
    if not names:
        return ""
    layers = [node.name for node in graph.nodes if node.op in WITH_WEIGHTS]
    shapes = output_shapes(graph)
    sizes = {name: graph.arrays[f"{name}/kernel"].size for name in layers}
    # A kernel is applied at every place of the output; a dense one has a single place.
    places = {name: math.prod(shapes[name][:-1]) for name in layers}
    work = {name: sizes[name] * places[name] for name in layers}
    share = sum(work[name] for name in names) / sum(work.values())
    more = _MORE_BYTES * sum(sizes[name] for name in names)
    return (
        f"{len(names)} of {len(layers)} layers float ({', '.join(names)}): {100 * share:.1f} % of "
        f"the multiply-adds, {more / 1e6:.3f} MB more a file"
    )
