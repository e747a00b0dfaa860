"""``fgdm compile``: keeps compiled contexts of a bundle's graphs; engines open it faster then."""

from __future__ import annotations

import argparse
from pathlib import Path

from fgdm.cli.opening import add_runtime_arguments, default_bundle
from fgdm.contexts import CONTEXTS, prune_contexts
from fgdm.errors import BackendError
from fgdm.inspect import human_size
from fgdm.manifest import read_manifest

EPILOG = """\
examples:
  fgdm compile bundles/sd15 --backend tensorrt-rtx
  fgdm compile bundles/scenes --backend openvino --contexts ~/.cache/scenes
  fgdm compile bundles/scenes --prune

An engine with the same options opens the bundle without compiling. docs/runtimes.md says for which
backends that is worth it.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add = parser.add_argument
    add("bundle", nargs="?", type=Path, help="folder; default: bundles/scenes, if it is here")
    add("--backend", metavar="NAME", help="openvino or tensorrt-rtx")
    add_runtime_arguments(add)
    add(
        "--contexts",
        default="bundle",
        metavar="WHERE",
        help="keep them in this folder, or in the bundle (default)",
    )
    add(
        "--prune",
        action="store_true",
        help="first remove contexts that are damaged, or of other graphs than the bundle's",
    )


def run(args: argparse.Namespace) -> int:
    """Compiles, prints a line for each graph; the exit code."""
    bundle = args.bundle or default_bundle()
    if args.prune:
        folder = bundle / CONTEXTS if args.contexts == "bundle" else Path(args.contexts)
        for context in prune_contexts(folder, read_manifest(bundle)):
            print(f"removed {context.folder}: {context.problem}")
        if args.backend is None:
            return 0
    try:
        from fgdm.compiling import CompiledGraph, compile_graphs  # noqa: PLC0415 (needs the core)
    except ImportError as error:
        raise BackendError(str(error)) from error

    def tell(compiled: CompiledGraph) -> None:
        did = "was there" if compiled.was_kept else "compiled"
        size = human_size(compiled.size) if compiled.size else "not kept"
        print(f"{compiled.graph:<32} {did:<9} {compiled.seconds:7.2f} s  {size:>9}", flush=True)
        for note in compiled.notes:
            print(f"  note: {note}", flush=True)

    every = compile_graphs(
        bundle,
        backend=args.backend or "auto",
        device=args.device,
        precision=args.precision,
        threads=args.threads,
        library=args.library,
        contexts=args.contexts,
        each=tell,
    )
    seconds, size = sum(item.seconds for item in every), sum(item.size for item in every)
    print(f"{len(every)} graphs, {seconds:.1f} s, {human_size(size)}")
    if not all(item.size for item in every):
        raise BackendError("some compiled contexts couldn't be kept; the notes above say why")
    return 0
