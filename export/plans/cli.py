"""The ``fgdm build`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fgdm.cli.arguments import picture_size
from fgdm.inspect import human_size
from fgdm.progress import Progress

from ..errors import ExportError
from .options import Options
from .report import read_layers, report
from .runtimes import TARGETS

if TYPE_CHECKING:
    from .build import Outcome
    from .order import Order

# --help needs no ONNX, which the modules that are imported further down do.
# ruff: noqa: PLC0415

EPILOG = """\
examples:
  fgdm build bundles/scenes --target tensorrt-rtx --gpu sm_86,sm_89    (no GPU needed)
  fgdm build bundles/scenes --target tensorrt                          (for this machine's GPU)
  fgdm build bundles/scenes --prune
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options on `parser`."""
    defaults = Options("")
    parser.description = (
        "Compile a bundle's graphs into plans for the resolutions and batches that requests meet. "
        "Run again after an interruption: finished plans are kept."
    )
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder with a manifest.json")
    what = parser.add_argument_group("what to build")
    what.add_argument("--target", choices=sorted(TARGETS), help="the runtime that will run them")
    what.add_argument(
        "--gpu",
        type=_names,
        default=(),
        metavar="SM[,SM]",
        help="architectures, such as sm_86,sm_89; one plan serves all (default: this machine's)",
    )
    what.add_argument(
        "--max-candidates",
        type=int,
        default=defaults.max_candidates,
        metavar="N",
        help="most maps that a request samples (default: %(default)s)",
    )
    what.add_argument(
        "--max-images",
        type=int,
        default=defaults.max_images,
        metavar="N",
        help="image passes, of as many requests at once, that share a batch (default: %(default)s)",
    )
    what.add_argument(
        "--sizes",
        type=_sizes,
        default=(),
        metavar="HxW[,HxW]",
        help="image sizes in pixels; maps are smaller in the bundle's ratio (default: its own)",
    )
    what.add_argument(
        "--graphs", type=_names, default=(), metavar="NAME[,NAME]", help="only these graphs"
    )
    what.add_argument(
        "--plugin",
        type=Path,
        metavar="LIBRARY",
        help="plugin library whose attention kernel replaces the function body (tensorrt)",
    )
    what.add_argument(
        "--share-weights",
        action="store_true",
        help="one plan a graph for all sizes and batches, which holds its weights once",
    )
    how = parser.add_argument_group("how")
    how.add_argument(
        "--jobs", type=_positive, default=1, metavar="N", help="builds at once (default: 1)"
    )
    how.add_argument("--dry-run", action="store_true", help="only list what would be built")
    how.add_argument("--prune", action="store_true", help="remove plans that are stale or damaged")
    how.add_argument(
        "--report",
        action="store_true",
        help="tell what each plan's layers are, and what is unfused",
    )
    how.add_argument("--quiet", action="store_true", help="print nothing but errors")


def run(args: argparse.Namespace) -> int:
    """Build as the options say. Returns the exit code."""
    from .build import build_plans, plan_orders, prune_plans

    say: Callable[[str], None] = (lambda text: None) if args.quiet else print
    if args.target is None and not args.prune:
        raise ExportError(f"--target is missing; expected one of {', '.join(sorted(TARGETS))}")
    if args.prune:
        for plan in prune_plans(args.bundle):
            say(f"removed plans/{plan.target}/{plan.key[:12]}: {plan.problem}")
    if args.target is None:
        return 0
    options = Options(
        target=args.target,
        gpus=args.gpu,
        max_candidates=args.max_candidates,
        max_images=args.max_images,
        image_sizes=args.sizes,
        graphs=args.graphs,
        plugin=args.plugin,
        share_weights=args.share_weights,
    )
    if args.dry_run:
        _list(plan_orders(args.bundle, options), say)
        return 0
    if args.quiet:
        outcome = build_plans(args.bundle, options, jobs=args.jobs)
    else:
        try:
            with Progress() as bar:
                outcome = build_plans(
                    args.bundle,
                    options,
                    jobs=args.jobs,
                    progress=bar.step,
                    remark=lambda text: say(f"note: {text}"),
                )
        except KeyboardInterrupt:
            print("finished plans are kept; run the same command to go on", file=sys.stderr)
            raise
    _summarise(outcome, args.bundle, say)
    if args.report:
        _report(outcome, say)
    return 0


def _list(orders: list[Order], say: Callable[[str], None]) -> None:
    from .resources import disk_needed, memory_needed

    for order in orders:
        sizes = f"{human_size(disk_needed(order))}, {human_size(memory_needed(order))} to build"
        say(f"{order.covers['target']}/{order.key[:12]}  {order.label}  (about {sizes})")
    say(f"{len(orders)} plans, about {human_size(sum(map(disk_needed, orders)))}")


def _summarise(outcome: Outcome, bundle: Path, say: Callable[[str], None]) -> None:
    from .build import obsolete_plans

    for order, metadata in outcome.built:
        built, size = metadata["built"], human_size(metadata["plan"]["size"])
        say(
            f"{order.covers['target']}/{order.key[:12]}  {order.label}  {size}, "
            f"{built['seconds']:.1f} s, {human_size(built['peak_memory'])} of memory"
        )
    for plan in obsolete_plans(bundle):
        say(f"plans/{plan.target}/{plan.key[:12]} ({plan.problem}): --prune removes it")
    kept = f", {len(outcome.kept)} were there already" if outcome.kept else ""
    say(f"{len(outcome.built)} plans built in {bundle / 'plans'}{kept}")


def _report(outcome: Outcome, say: Callable[[str], None]) -> None:
    for order in (*(order for order, _ in outcome.built), *outcome.kept):
        say(f"\n{order.label}")
        layers = read_layers(order.stem.with_suffix(".layers.json"))
        covers = order.covers
        for line in report(layers, covers["segfree_attention"], len(covers["profiles"])):
            say(f"  {line}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _sizes(text: str) -> tuple[tuple[int, int], ...]:
    return tuple(picture_size(part) for part in _names(text))


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} isn't a number of 1 or more")
    return int(text)
