"""The Pareto front: what nothing else beats in both ways at once."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Positions on the front, cheapest first.

    A place is on it when no other costs at most as much and gains at least as much, one of the two
    strictly. Of equals the first stands for all.
    """
    order = sorted(range(len(costs)), key=lambda at: (costs[at], -gains[at], at))
    front: list[int] = []
    for at in order:
        if not front or gains[at] > gains[front[-1]]:
            front.append(at)
    return front
