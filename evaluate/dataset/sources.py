"""Where prompts come from: a file, a grammar, or the procedural world. Each is a pure function of
the data set's seed and the sample's index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fgdm.tuning.prompts import Prompt

from .grammar import Grammar

#: Seeds fit into a signed 64-bit column.
_SEED_BITS = 63


class Source(Protocol):
    """What says the prompt of every sample."""

    def prompt(self, seed: int, index: int) -> Prompt:
        """Of a data set's sample."""

    def describe(self) -> dict[str, Any]:
        """What it is, so that two of them can be told apart: plain JSON."""


@dataclass(frozen=True)
class Listed:
    """Prompts in their order; after the last comes the first."""

    prompts: tuple[Prompt, ...]

    def prompt(self, seed: int, index: int) -> Prompt:
        return self.prompts[index % len(self.prompts)]

    def describe(self) -> dict[str, Any]:
        listed = [[prompt.text, prompt.objects] for prompt in self.prompts]
        return {"kind": "prompts", "prompts": len(listed), "sha256": _digest(listed)}


@dataclass(frozen=True)
class Templates:
    """Prompts that a grammar makes."""

    grammar: Grammar

    def prompt(self, seed: int, index: int) -> Prompt:
        return Prompt(self.grammar.expand(derived_seed("prompt", seed, index)))

    def describe(self) -> dict[str, Any]:
        rules: Mapping[str, tuple[str, ...]] = self.grammar.rules
        things = [word.singular for word in self.grammar.words.things]
        return {
            "kind": "templates",
            "rules": {name: list(texts) for name, texts in rules.items()},
            "things": things,
        }


@dataclass(frozen=True)
class World:
    """Captions of the procedural world's scenes, which needs no PyTorch."""

    def prompt(self, seed: int, index: int) -> Prompt:
        from fgdm.train.captions import caption  # noqa: PLC0415 (only who asks for it needs it)
        from fgdm.train.world import sample_scene  # noqa: PLC0415

        return Prompt(caption(sample_scene(derived_seed("prompt", seed, index))))

    def describe(self) -> dict[str, Any]:
        return {"kind": "world"}


def derived_seed(purpose: str, seed: int, index: int, attempt: int = 0) -> int:
    """0 to 2^63 - 1, from SHA-256 of its arguments: neighbours have nothing in common."""
    content = f"fgdm dataset: {purpose} {seed} {index} {attempt}".encode()
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") >> (64 - _SEED_BITS)


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
