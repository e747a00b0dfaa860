"""The ``fgdm compare`` command."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgdm import manifest as manifests
from fgdm.bundle_files import check_sizes
from fgdm.file_tree import require_folder
from fgdm.files import OutputFolder, read_regular
from fgdm.progress import Progress

from ..errors import ExportError

if TYPE_CHECKING:
    from .differences import Difference

# --help needs neither PyTorch nor Polygraphy, which the modules that are imported further down do.
# ruff: noqa: PLC0415

EPILOG = """\
examples:
  fgdm compare bundles/scenes --graph backbone --b plain
  fgdm compare bundles/scenes --graph backbone --a cpu --b openvino --output backbone.json

The graph's inputs are those of real prompts: the whole chain is sampled once, on ONNX Runtime.
The error of a value is its largest absolute difference over its largest magnitude on the second
runtime.
Exit code 1 if an output leaves the tolerance.
"""

#: Of the values before the first that is too far, so many are printed.
_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options on `parser`."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("bundle", type=Path, metavar="BUNDLE", help="folder with a manifest.json")
    add("--graph", default="backbone", metavar="NAME", help="default: backbone")
    known = "cpu, plain (cpu, unoptimised), cuda, openvino, tensorrt, tensorrt-rtx, webgpu"
    add("--a", default="cpu", metavar="RUNTIME", help=f"{known} (default: cpu)")
    add("--b", required=True, metavar="RUNTIME", help="what it is compared with")
    add(
        "--tolerance",
        type=float,
        metavar="ERROR",
        help="of an output (default: what the exporter allowed this graph)",
    )
    add(
        "--calls",
        type=int,
        default=16,
        metavar="N",
        help="of the graph, evenly taken from those of the prompts; 0: all (default: 16)",
    )
    add(
        "--at-once",
        type=int,
        default=64,
        metavar="N",
        help="inner values that are outputs in one pass; fewer take less memory (default: 64)",
    )
    add("--output", type=Path, metavar="FILE", help="the figures as JSON")
    add("--quiet", action="store_true", help="print nothing but errors")


def run(args: argparse.Namespace) -> int:
    """Compares as the options say, prints and stores. Returns the exit code."""
    from . import runtimes

    for name in (args.a, args.b):
        if name not in runtimes.NAMES:
            raise ExportError(f"no runtime {name}; expected one of {', '.join(runtimes.NAMES)}")
    for option, given, least in (
        ("--calls", args.calls, 0),
        ("--at-once", args.at_once, 1),
        ("--tolerance", args.tolerance or 0.0, 0.0),
    ):
        if not given >= least:
            raise ExportError(f"{option} is {given}; expected {least:g} or more")
    said = _graph(args.bundle, args.graph)
    tolerance = said.get("tolerance") if args.tolerance is None else args.tolerance
    if tolerance is None:
        raise ExportError(f"the bundle says no tolerance of {args.graph}; give --tolerance")
    if args.output is None:
        return _compare(args, args.bundle / said["file"], tolerance, None)
    with OutputFolder(args.output.parent, [args.output.name]) as folder:
        return _compare(args, args.bundle / said["file"], tolerance, folder)


def _compare(
    args: argparse.Namespace, path: Path, tolerance: float, folder: OutputFolder | None
) -> int:
    from . import runtimes
    from .differences import compare, first_difference
    from .inputs import calibrated_feeds
    from .values import Values

    say: Callable[[str], None] = (lambda text: None) if args.quiet else print
    one, other = runtimes.find(args.a), runtimes.find(args.b)
    say(f"sampling prompts for the inputs of {args.graph}")
    feeds = _some(calibrated_feeds(args.bundle, args.graph), args.calls)
    values = Values(path)

    def on(runtime: runtimes.Runtime) -> Any:
        return lambda names: runtime(values.model(names), path.parent, feeds)

    outputs = compare(values.outputs, on(one), on(other), feeds)
    worst = max(outputs, key=lambda difference: difference.error)
    say(f"{len(feeds)} calls on {args.a} and {args.b}; an error of {tolerance:g} is allowed")
    for difference in outputs:
        say(f"  {difference.value.name:<28} {difference.error:.2e}")
    passed: list[Difference] = []
    first = None
    within = worst.error <= tolerance
    if not within:
        with Progress() as bar:
            passed, first = first_difference(
                values,
                on(one),
                on(other),
                feeds[worst.call],
                tolerance,
                args.at_once,
                None if args.quiet else lambda done, all_: bar.step("comparing", done, all_),
            )
    for line in _verdict(within, passed, first):
        say(line)
    if folder is not None:
        figures = {
            "graph": args.graph,
            "runtimes": [args.a, args.b],
            "calls": len(feeds),
            "tolerance": tolerance,
            "outputs": [asdict(difference) for difference in outputs],
            "first_beyond": None if first is None else asdict(first),
        }
        folder.write({args.output.name: (json.dumps(figures, indent=1) + "\n").encode()})
    return 0 if within else 1


def _verdict(within: bool, passed: Sequence[Difference], first: Difference | None) -> Sequence[str]:
    if within:
        return ["within the tolerance"]
    if first is None:
        return [
            "beyond the tolerance, but no value inside is while it is looked at: what a runtime "
            "fuses, it doesn't where the values between are outputs"
        ]
    lines = [f"beyond the tolerance first at {first.value.layer} ({first.value.kind})"]
    for difference in passed[-_SHOWN:]:
        mark = "first" if difference is first else ""
        lines.append(f"  {difference.error:.2e}  {difference.value.layer}  {mark}".rstrip())
    return lines


def _graph(bundle: Path, name: str) -> Any:
    require_folder(bundle, "fgdm compare")
    check_sizes(bundle, manifests.read_manifest(bundle))
    graphs = json.loads(read_regular(bundle / manifests.MANIFEST))["graphs"]
    if name not in graphs:
        raise ExportError(f"{bundle} has no graph {name}; it has {', '.join(graphs)}")
    return graphs[name]


def _some(feeds: Sequence[Any], count: int) -> list[Any]:
    """`count` of them, the first and the last among them; 0: all."""
    if count in (0, len(feeds)) or count > len(feeds):
        return list(feeds)
    places = [round(i * (len(feeds) - 1) / max(count - 1, 1)) for i in range(count)]
    return [feeds[place] for place in places]
