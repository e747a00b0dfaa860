"""What plans to build."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """What to build. Everything but `target` has a default that suits the bundle.

    gpus: architectures such as "sm_89"; needed ahead of time, else this machine's. max_candidates:
    of a request. max_images: image passes, of as many requests, that share a batch. image_sizes:
    height and width in pixels; the bundle's own if empty. graphs: only these; all that the chain
    runs if empty. plugin: a library with the op's plugin (tensorrt). share_weights: one plan a
    graph, with all its profiles, which hold its weights once between them, in place of one plan a
    profile.
    """

    target: str
    gpus: tuple[str, ...] = ()
    max_candidates: int = 10
    max_images: int = 1
    image_sizes: tuple[tuple[int, int], ...] = ()
    graphs: tuple[str, ...] = ()
    plugin: Path | None = None
    share_weights: bool = False
