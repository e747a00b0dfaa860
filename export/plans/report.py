"""What became of a graph's nodes: which were fused into one layer, and which were left alone."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .description import Layer

#: A node of a model-local function is listed as "its name | the function's node (the function)".
_OP = "(SegFreeAttention)"
#: Kinds of layers for matrix products and convolutions, as the runtimes name them.
_PRODUCTS = ("gemm", "correlation", "convolution", "deconvolution", "matrix_multiply")


def read_layers(path: Path) -> list[Layer]:
    """The layers that a build wrote beside its plan."""
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return [Layer(x["name"], x["kind"], tuple(x["nodes"])) for x in found]


def report(layers: Sequence[Layer], segfree_attention: str, profiles: int = 1) -> Iterator[str]:
    """Lines for a person: kinds of layers, what attention bodies became, what is unfused.

    A plan's profiles are compiled apart, and their layers are counted together.
    """
    kinds = Counter(layer.kind or "unnamed" for layer in layers)
    together = f" in {profiles} profiles" if profiles > 1 else ""
    yield f"{len(layers)} layers{together}: {_counts(kinds)}"
    if segfree_attention == "plugin":
        yield "SegFreeAttention: the plugin, one layer each"
    bodies = Counter(
        _counts(Counter(part.kind for part in parts)) if len(parts) > 1 else ""
        for parts in attention_bodies(layers).values()
    )
    for parts, count in bodies.most_common():
        how = f"not fused: {parts}" if parts else "fused into one layer"
        yield f"SegFreeAttention, {count} of {bodies.total()} bodies: {how}"
    alone = unfused(layers)
    by_operation = Counter(_operation(layer.nodes[0]) for layer in alone)
    yield f"{len(alone)} nodes fused with no neighbour: {_counts(by_operation) or 'none'}"


def attention_bodies(layers: Sequence[Layer]) -> dict[str, list[Layer]]:
    """By node of the op, the layers that its function body was compiled into."""
    bodies: dict[str, list[Layer]] = {}
    for layer in layers:
        for node in dict.fromkeys(_op_node(name) for name in layer.nodes):
            if node is not None:
                bodies.setdefault(node, []).append(layer)
    return bodies


def unfused(layers: Sequence[Layer]) -> list[Layer]:
    """Layers that are one node alone, and so were fused with no neighbour.

    Matrix products and convolutions, which are often so by nature, and parts of an attention body,
    which `attention_bodies` tells of, are left out.
    """
    return [
        layer
        for layer in layers
        if len(layer.nodes) == 1
        and layer.kind.lower() not in _PRODUCTS
        and _op_node(layer.nodes[0]) is None
    ]


def _op_node(name: str) -> str | None:
    if not name.endswith(_OP):
        return None
    return name.rsplit("|", maxsplit=1)[-1].removesuffix(_OP).strip()


def _operation(node: str) -> str:
    """What a node does, with its attention: mid_block.attn1.Transpose_3 is attn1/Transpose."""
    parts = re.split(r"[./]", re.sub(r"_\d+$", "", node))
    return "/".join(part for part in parts[-2:] if part == parts[-1] or part.startswith("attn"))


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common())
