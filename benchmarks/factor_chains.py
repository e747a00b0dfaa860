"""The chains of a bundle that are worth a comparison: its order of factors, and parts of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

IMAGE = "image"


@dataclass(frozen=True)
class Chain:
    """Some of a bundle's condition factors, in its order, and the image.

    joint: those that are sampled together, none or all of them; the image may be with them.
    """

    factors: tuple[str, ...]
    joint: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """As the paper writes it; what is joint stands in brackets."""
        rest = [name for name in (*self.factors, IMAGE) if name not in self.joint]
        return " → ".join([f"({' + '.join(self.joint)})"] * bool(self.joint) + rest)

    def options(self, manifest: Mapping[str, Any], steps: int | None) -> dict[str, Any]:
        """Arguments of ``Engine.generate``.

        steps: of every map and of the image; None takes the bundle's, of an image that is joint its
        own for all.
        """
        if IMAGE in self.joint and steps is None:
            steps = manifest["factors"][-1]["num_inference_steps"]
        return {
            "factors": {n: {} if n in self.factors else None for n in factor_names(manifest)},
            "joint": list(self.joint) or None,
            "condition_steps": steps,
            "num_inference_steps": steps,
        }


def factor_names(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The condition factors in the chain's order."""
    return tuple(entry["name"] for entry in manifest["factors"][:-1])


def outputs(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What each condition factor makes: "labels", or a kind of picture."""
    return {entry["name"]: entry.get("output", "labels") for entry in manifest["factors"][:-1]}


def chains(manifest: Mapping[str, Any]) -> list[Chain]:
    """No factor, each one, each two, and all of them, if everything in the chain has a way to the
    image; all of them in any case. Then all of them jointly, without the image and with it."""
    names = factor_names(manifest)
    found = [
        Chain(part)
        for count in range(min(2, len(names)) + 1)
        for part in combinations(names, count)
        if _all_reach_the_image(part, manifest)
    ]
    whole = Chain(names)
    found += [] if whole in found else [whole]
    found += [Chain(names, names)] if len(names) > 1 else []
    return found + ([Chain(names, (*names, IMAGE))] if names else [])


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
