"""``fgdm dataset``: labelled pictures from prompts, with the map of every factor."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgdm.cli.arguments import names
from fgdm.cli.opening import add_machine_arguments, default_bundle, engine_options
from fgdm.errors import RequestError
from fgdm.fields import parse_object
from fgdm.file_tree import open_tree, read_object
from fgdm.manifest import MANIFEST, read_checked
from fgdm.progress import Progress
from fgdm.tuning.prompts import read_prompts

from .balance import write_balance
from .crew import threads_of_each
from .formats import FORMATS, check_formats
from .grammar import START, Grammar, Words, read_rules
from .making import Setup
from .recipe import Accepted, Recipe
from .run import IN_FLIGHT, Outcome, make_dataset
from .sources import Listed, Source, Templates, World

if TYPE_CHECKING:
    from .cluster import Cluster

EPILOG = """\
examples:
  fgdm dataset bundles/scenes --count 1000 --output data --world --with depth,normal
  fgdm dataset bundles/scenes --count 200 --output data \\
      --template "{count} {thing} {relation} a {thing}" --min-compliance 1 --attempts 5
  fgdm dataset bundles/scenes --count 500 --output data --prompts prompts.txt --workers 2

Makes the samples that the output folder lacks: a run that was ended, in whatever way, goes on with
the same command, and a larger --count adds samples. What the folder holds in the end depends on the
seed and the settings alone. docs/dataset.md has the files and the formats.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add = parser.add_argument
    add("bundle", nargs="?", type=Path, help="folder or archive; default: bundles/scenes, if here")
    add("--output", type=Path, required=True, metavar="FOLDER", help="of the data set")
    add("--count", type=int, required=True, metavar="N", help="samples that there shall be")
    add("--seed", type=int, default=0, metavar="N", help="0 to 2^63 - 1; default: 0")
    add("--json", action="store_true", help="print what was made as JSON on standard output")
    add("--quiet", action="store_true", help="no progress and no summary")

    prompts = parser.add_argument_group("prompts: one of")
    add = prompts.add_mutually_exclusive_group(required=True).add_argument
    add(
        "--prompts",
        type=Path,
        metavar="FILE",
        help="one a line, or .json: a list of texts or of {prompt, objects}; taken in turn",
    )
    add(
        "--template",
        action="append",
        metavar="TEXT",
        help="such as '{count} {thing} {relation} a {thing} on the {background}'; may be repeated",
    )
    add("--grammar", type=Path, metavar="FILE", help="templates, one a line, or rules as .json")
    add("--world", action="store_true", help="captions of the procedural world's scenes")
    prompts.add_argument(
        "--things",
        type=names,
        default=[],
        metavar="NAME,NAME",
        help="classes that {thing} becomes; default: all things of the palette",
    )

    making = parser.add_argument_group("making")
    add = making.add_argument
    add("--with", type=names, default=[], metavar="FACTOR,FACTOR", help="optional: they make one")
    add("--candidates", type=int, metavar="N", help="maps of a sample; default: the engine's")
    add(
        "--options",
        type=_json_object,
        default={},
        metavar="JSON",
        help='of every request, as Engine.submit has them, e.g. {"select": "compliance"}',
    )
    add("--workers", type=int, default=1, metavar="N", help="processes, an engine each; default: 1")
    add(
        "--ray",
        metavar="ADDRESS",
        help="the workers are a Ray cluster's: auto, local (one is started), or ray://HOST:PORT",
    )
    add("--gpus", type=float, default=0.0, metavar="X", help="of each worker on a Ray cluster")
    add("--in-flight", type=int, metavar="N", help="requests of an engine at a time; default: 24")
    add(
        "--format",
        type=names,
        default=[],
        metavar="NAME,NAME",
        help="coco, parquet (Hugging Face datasets) or webdataset, beside the plain folders",
    )

    keeping = parser.add_argument_group("what is kept")
    add = keeping.add_argument
    for name, what in (
        ("recall", "found / requested classes of the map"),
        ("compliance", "met / checked requirements of the map"),
        ("agreement", "mean IoU of the map with what --segmenter sees in the picture"),
    ):
        add(f"--min-{name}", type=float, default=0.0, metavar="X", help=f"{what}, 0 to 1")
    add(
        "--segmenter",
        default="",
        metavar="FILE.onnx",
        help="sees how far picture and map agree; or MODULE:FUNCTION, called with a PIL picture, "
        "returns class indices",
    )
    add(
        "--attempts",
        type=int,
        default=1,
        metavar="N",
        help="seeds to try for a sample that isn't kept, before its number stays empty; default: 1",
    )
    add_machine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Makes what is missing, and tells about it; the exit code."""
    check_formats(args.format)
    in_flight = IN_FLIGHT if args.in_flight is None else args.in_flight
    setup = _setup(args, in_flight)
    options: dict[str, Any] = {"workers": args.workers, "in_flight": in_flight}
    if args.ray is not None:
        options["crew"] = _cluster(args, setup)
    elif args.gpus:
        raise RequestError("--gpus is of the workers of --ray; leave it out")
    if args.quiet:
        outcome = make_dataset(setup, args.output, args.count, **options)
        written = _write(args)
    else:
        with Progress() as progress:
            progress.stage(f"loading {setup.bundle}")
            outcome = make_dataset(
                setup,
                args.output,
                args.count,
                watch=lambda done, total: progress.step("samples", done, total),
                **options,
            )
            progress.stage("writing the report" + "".join(f", {name}" for name in args.format))
            written = _write(args)
    if args.json:
        content = {"output": str(args.output), **vars(outcome), "written": list(map(str, written))}
        print(json.dumps(content, indent=2))
    if not args.quiet:
        print(_summary(outcome, args.output), file=sys.stderr if args.json else sys.stdout)
    return 0


def _cluster(args: argparse.Namespace, setup: Setup) -> Callable[[Setup], Cluster]:
    from .cluster import Cluster, Place  # noqa: PLC0415 (it needs Ray)

    threads = max(1, int(setup.engine["threads"]))
    place = Place(args.workers, cpus=threads, gpus=args.gpus)
    return lambda setup: Cluster(setup, place, args.ray)


def _write(args: argparse.Namespace) -> list[Path]:
    """The report and the other formats, of all samples that are there; the paths."""
    written = write_balance(args.output)
    for name in args.format:
        written += FORMATS[name](args.output)
    return written


def _setup(args: argparse.Namespace, in_flight: int) -> Setup:
    bundle = args.bundle or default_bundle()
    options = dict(args.options)
    if args.candidates is not None:
        options["candidates"] = args.candidates
    recipe = Recipe(
        source=_source(args, bundle),
        seed=args.seed,
        optional=tuple(vars(args)["with"]),
        options=options,
        accepted=Accepted(args.min_recall, args.min_compliance, args.min_agreement),
        attempts=args.attempts,
        segmenter=args.segmenter,
    )
    engine = {
        **engine_options(args),
        "threads": args.threads or threads_of_each(args.workers),
        "policy": "throughput",
        "max_queue": max(256, in_flight + 1),
    }
    return Setup(recipe, str(bundle), engine)


def _source(args: argparse.Namespace, bundle: Path) -> Source:
    if args.things and (args.prompts or args.world):
        raise RequestError("--things is of --template and --grammar; leave it out")
    if args.prompts:
        return Listed(tuple(read_prompts(args.prompts)))
    if args.world:
        return World()
    rules = {START: tuple(args.template)} if args.template else read_rules(args.grammar)
    return Templates(Grammar(rules, Words.of_palette(_palette(bundle), args.things)))


def _palette(bundle: Path) -> dict[str, Any] | None:
    """Of the last factor that makes labels."""
    manifest = parse_object(read_checked(bundle), f"{bundle / MANIFEST}")
    factors: Any = manifest["factors"]
    files = [one["palette"] for one in factors if one.get("palette")]
    return read_object(open_tree(bundle), files[-1]) if files else None


def _summary(outcome: Outcome, folder: Path) -> str:
    kept = outcome.made - outcome.rejected
    rate = f", {outcome.made / outcome.seconds:.2f} a second" if outcome.seconds > 0 else ""
    return (
        f"{kept} samples made and {outcome.rejected} rejected in {outcome.seconds:.1f} s{rate}; "
        f"{outcome.before} were there; {folder}"
    )


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(
            f'{text!r:.200} isn\'t a JSON object, e.g. \'{{"select": "compliance"}}\''
        )
    return value
