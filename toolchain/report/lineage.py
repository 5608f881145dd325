"""From the photos and the backbone's weights to every file, each link by its hash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolchain.contract import ExportedModel


@dataclass(frozen=True, slots=True)
class Link:
    """One thing on the way: what it is, its sha256, and what it was made from, in words."""

    what: str
    sha256: str
    made_from: str = ""


def lineage(exported: Sequence[ExportedModel], weights: Mapping[str, str]) -> tuple[Link, ...]:
    """The links in the order in which things were made.

    Args:
      exported: the files of one run, at least one.
      weights: "backbone", "trained", "calibrated" and "quantized" -> sha256 of the file; those that
        there are.
    """
    origin = exported[0].contract.lineage
    links = [
        Link("recipe", origin.get("recipe_sha256", "")),
        Link("photos and their split", origin.get("data_sha256", "")),
    ]
    if "backbone" in weights:
        links.append(Link("backbone's weights", weights["backbone"]))
    beginning = "backbone's weights" if "backbone" in weights else "random weights"
    if "trained" in weights:
        made_from = f"recipe, photos, {beginning}"
        links.append(Link("trained weights", weights["trained"], made_from))
    for name in ("calibrated", "quantized"):
        if name in weights:
            links.append(Link(f"{name} weights", weights[name], "trained weights, photos"))
    names = {sha256: f"{name} weights" for name, sha256 in weights.items() if name != "backbone"}
    for model in exported:
        made_from = names.get(model.contract.lineage.get("weights_sha256", ""), "")
        links.append(Link(model.path.name, model.sha256, made_from))
    return tuple(link for link in links if link.sha256)
