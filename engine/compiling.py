"""Compiles a bundle's graphs ahead of time, where an execution provider keeps compiled contexts."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import fgdm._core as _core  # noqa: PLR0402 (absent, it must be named in the ImportError)
from fgdm import open_engines, values
from fgdm.libraries import find_libraries


@dataclass(frozen=True)
class CompiledGraph:
    """A graph that is ready to be opened.

    was_kept: whether its compiled context was there and could be loaded, or else was made.
    seconds: that it took. size: bytes of the context, 0 where none could be made or kept. notes:
    why one was made anew, or why there is none.
    """

    graph: str
    was_kept: bool
    seconds: float
    size: int
    notes: tuple[str, ...]


def compile_graphs(
    bundle: str | os.PathLike[str],
    *,
    backend: str,
    device: int = 0,
    precision: str = "auto",
    threads: int = 0,
    library: str | os.PathLike[str] = "",
    contexts: str | os.PathLike[str] = "bundle",
    each: Callable[[CompiledGraph], object] | None = None,
) -> list[CompiledGraph]:
    """Compiles all graphs that requests may run, and keeps their compiled contexts.

    Options are those of `Engine`, which opens the bundle without compiling if it is given the same.
    Contexts that are there are loaded, which shows that they can be. One graph is in memory at a
    time; `each` is called after every one.

    Raises RequestError for a backend whose provider makes none ("cpu", "cuda", "tensorrt",
    "webgpu") and for contexts "off"; BundleError and BackendError as `Engine`.
    """
    folder = values.path("bundle", bundle)
    found = find_libraries(backend, values.path("library", library))
    compiled: list[CompiledGraph] = []

    def add(told: tuple[str, bool, float, int, list[str]]) -> None:
        graph, was_kept, seconds, size, notes = told
        compiled.append(CompiledGraph(graph, was_kept, seconds, size, tuple(notes)))
        if each is not None:
            each(compiled[-1])

    with open_engines.call():
        _core.compile_graphs(
            folder,
            backend=values.text("backend", backend),
            precision=values.text("precision", precision),
            threads=values.required_integer("threads", threads),
            library=found.get("library", ""),
            plugins=found.get("plugins", []),
            device=values.required_integer("device", device),
            contexts=values.path("contexts", contexts),
            each=add,
        )
    return compiled
