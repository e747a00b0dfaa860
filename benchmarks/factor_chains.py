"""The chains of a bundle that are worth a comparison: its order of factors, and parts of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any


@dataclass(frozen=True)
class Chain:
    """Some of a bundle's condition factors, in its order, and the image.

    joint: whether they are sampled together.
    """

    factors: tuple[str, ...]
    joint: bool = False

    @property
    def title(self) -> str:
        """As the paper writes it; what is joint stands in brackets."""
        if self.joint:
            return f"({' + '.join(self.factors)}) → image"
        return " → ".join([*self.factors, "image"])

    def options(self, everything: Iterable[str]) -> dict[str, Any]:
        """Arguments of ``Engine.generate`` for a bundle with these condition factors."""
        left_out = {name: None for name in everything if name not in self.factors}
        return {"factors": left_out, "joint": list(self.factors) if self.joint else None}


def factor_names(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The condition factors in the chain's order."""
    return tuple(entry["name"] for entry in manifest["factors"][:-1])


def outputs(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What each condition factor makes: "labels", or a kind of picture."""
    return {entry["name"]: entry.get("output", "labels") for entry in manifest["factors"][:-1]}


def chains(manifest: Mapping[str, Any]) -> list[Chain]:
    """No factor, each one, each two, and all of them, if everything in the chain has a way to the
    image; all of them in any case. Then all of them jointly."""
    names = factor_names(manifest)
    found = [
        Chain(part)
        for count in range(min(2, len(names)) + 1)
        for part in combinations(names, count)
        if _all_reach_the_image(part, manifest)
    ]
    whole = Chain(names)
    found += [] if whole in found else [whole]
    return found + ([Chain(names, joint=True)] if len(names) > 1 else [])


def _all_reach_the_image(part: tuple[str, ...], manifest: Mapping[str, Any]) -> bool:
    reaching: set[str] = set()
    for entry in reversed(manifest["factors"]):
        if entry["name"] in part and entry["name"] not in reaching:
            return False
        if entry["name"] in part or entry["kind"] == "image":
            for network in entry["conditionings"]:
                reaching.update([network.get("condition", ""), *network.get("latents", ())])
            reaching.discard(entry["name"])
    return True
