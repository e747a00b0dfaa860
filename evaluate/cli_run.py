"""``fgdm evaluate run``: pictures of a list of prompts under settings, and what they are worth."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from fgdm.cli.opening import (
    add_machine_arguments,
    default_bundle,
    engine_options,
    open_engine,
)
from fgdm.errors import RequestError
from fgdm.file_tree import SUFFIX
from fgdm.progress import Progress
from fgdm.tuning.prompts import made_prompts, read_prompts

from .dataset.crew import Alone, Crew, threads_of_each
from .dataset.workers import Workers
from .making import Part, PictureMaker, Setup, make_missing
from .measure import Measurer, References
from .networks.base import FeatureNetwork, Networks, TextScorer
from .networks.clip import ClipScorer
from .networks.dual_encoder import SHIPPED as SHIPPED_DUAL_ENCODER
from .networks.dual_encoder import DualEncoderScore
from .networks.files import FileNetwork
from .networks.functions import FunctionScorer
from .networks.inception import Inception
from .networks.scenes import SHIPPED as SHIPPED_SEGMENTER
from .networks.scenes import ScenesSegmenter
from .networks.shipped import shipped
from .page import page
from .plan import Plan
from .reference import PictureFolder, Reference, WorldScenes
from .results import results
from .run_folder import RunFolder
from .settings import make_settings, option_from_text, setting_from_text, sweep_from_text
from .stopwatch import Stopwatch
from .tables import markdown

EPILOG = """\
examples:
  fgdm evaluate bundles/scenes --prompts prompts.txt
  fgdm evaluate bundles/scenes --prompts prompts.json --output runs/a \\
    --setting 'cfg={"guidance": "cfg"}' --sweep segfree_scale=0,5,10,20 \\
    --sweep segfree_start=0.05,0.25,0.5

Give the same command again to go on with what was stopped, or with more settings or networks: what
was made is not made again. Writes results.json, report.md and report.html into the folder.
"""

#: Scenes of the world that are the reference if no other number is given.
_SCENES = 400


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add = parser.add_argument
    add("bundle", nargs="?", type=Path, help="folder or archive; default: bundles/scenes, if here")
    add("--output", type=Path, metavar="FOLDER", help="of the run; default: runs/ and the bundle's")
    add(
        "--prompts",
        type=Path,
        metavar="FILE",
        help="one prompt a line, or .json: a list of texts or of {prompt, objects}; default: 16 "
        "made of the palette's classes",
    )
    add("--every", type=_natural, default=1, metavar="K", help="take every K-th prompt; default: 1")
    add("--seed", type=int, default=0, metavar="N", help="of the first prompt; default: 0")
    add("--quiet", action="store_true", help="no progress")

    settings = parser.add_argument_group(
        "settings",
        "Options are those of Engine.generate. The first setting is what the others "
        "are compared with.",
    )
    add = settings.add_argument
    add("--candidates", type=int, default=10, metavar="N", help="maps of a prompt; default: 10")
    add(
        "--option",
        type=_as_argument(option_from_text),
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help="of every setting; may be repeated",
    )
    add(
        "--setting",
        type=_as_argument(setting_from_text),
        action="append",
        default=[],
        metavar="NAME=OBJECT",
        help="a setting and its options as JSON; may be repeated",
    )
    add(
        "--sweep",
        type=_as_argument(sweep_from_text),
        action="append",
        default=[],
        metavar="OPTION=VALUE,VALUE",
        help="a setting for each value; repeated, for each combination",
    )

    measuring = parser.add_argument_group(
        "measuring",
        "Without networks of yours the scenes segmenter and the scenes dual encoder look at "
        "pictures, and every table says so. docs/evaluate.md has the form of descriptions.",
    )
    add = measuring.add_argument
    add(
        "--reference",
        metavar="FOLDER",
        help="pictures that made ones should be like, or world:N, N scenes of the world; default: "
        f"world:{_SCENES} for a bundle of its classes, else none",
    )
    add(
        "--reference-maps",
        metavar="FOLDER",
        help="the same for maps; default: the world's beside its pictures",
    )
    add(
        "--network",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="description of an ONNX or TorchScript network; may be repeated",
    )
    add("--inception", type=Path, metavar="FILE", help="torch-fidelity's weights, for FID and IS")
    add("--clip", type=Path, metavar="FOLDER", help="a CLIP model as transformers saves it")
    add(
        "--scorer",
        action="append",
        default=[],
        metavar="MODULE:FUNCTION",
        help="called with a PIL picture and its prompt, returns a number, more is better; may be "
        "repeated",
    )
    add(
        "--segmenter",
        type=Path,
        metavar="FILE",
        help=f"weights of the scenes segmenter; default: {SHIPPED_SEGMENTER}, if it is here",
    )
    add(
        "--dual-encoder",
        type=Path,
        metavar="FOLDER",
        help="what scores picture and prompt without --clip, for a bundle of the world's classes; "
        f"default: {SHIPPED_DUAL_ENCODER}, if it is here",
    )
    add(
        "--network-device",
        default="cpu",
        metavar="NAME",
        help="of networks in PyTorch and ONNX: cpu (default), cuda or cuda:1",
    )

    work = parser.add_argument_group("work")
    add = work.add_argument
    add(
        "--in-flight",
        type=_natural,
        default=1,
        metavar="N",
        help="prompts that share an engine's batches, and that a kill loses; default: 1",
    )
    add(
        "--part",
        type=_part,
        default=Part(),
        metavar="K/N",
        help="make the K-th of every N prompts only: one of N commands that share the folder",
    )
    add("--workers", type=_natural, default=1, metavar="N", help="processes, an engine each")
    add(
        "--ray",
        metavar="ADDRESS",
        help="the workers are a Ray cluster's: auto, local (one is started), or ray://HOST:PORT",
    )
    add("--gpus", type=float, default=0.0, metavar="X", help="of each worker on a Ray cluster")
    add_machine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Makes what is missing, measures and reports; the exit code."""
    stopwatch = Stopwatch()
    common = {"candidates": args.candidates, **dict(args.option)}
    settings = make_settings(args.setting, args.sweep, common)
    bundle = args.bundle or default_bundle()
    output = args.output or Path("runs") / bundle.resolve().name.removesuffix(SUFFIX)
    networks = _networks(args)
    with contextlib.ExitStack() as stack:
        progress = None if args.quiet else stack.enter_context(Progress())

        def show(stage: str) -> Callable[[int, int], None]:
            return lambda done, total: progress.step(stage, done, total) if progress else None

        if progress:
            progress.stage(f"loading {bundle}")
        with contextlib.ExitStack() as engines:
            with stopwatch.on("engine"):
                crew = engines.enter_context(_crew(args, bundle))
            if args.prompts is None:
                prompts = made_prompts(crew.identity["classes"])
            else:
                prompts = read_prompts(args.prompts)
            plan = Plan.of(crew.identity, prompts[:: args.every], settings, args.seed)
            folder = RunFolder.opened(output, plan)
            made = make_missing(
                crew.make,
                folder,
                in_flight=args.in_flight,
                part=args.part,
                watch=show("pictures"),
            )
        stopwatch.add(
            "engine",
            made.seconds / args.workers,
            made.processor,
            of_others=args.workers > 1 or args.ray is not None,
        )
        if not folder.is_complete():
            print(f"{output}: this part is made; others are still missing")
            return 0
        found = _measured(args, folder, networks, made.pictures, stopwatch, show)
    command = "fgdm " + shlex.join(sys.argv[1:])
    written = folder.write_report(
        {
            "results.json": json.dumps(found, indent=1, allow_nan=False) + "\n",
            "report.md": markdown(found, command),
            "report.html": page(found, folder, command),
        }
    )
    print(markdown(found, command))
    print(*written, sep="\n")
    return 0


@contextlib.contextmanager
def _crew(args: argparse.Namespace, bundle: Path) -> Iterator[Crew]:
    """An engine in this process, in several, or on a cluster."""
    if args.ray is None and args.gpus:
        raise RequestError("--gpus is of the workers of --ray; leave it out")
    if args.ray is None and args.workers == 1:
        with open_engine(args, bundle) as engine:
            yield Alone(PictureMaker(engine))
        return
    options = engine_options(args)
    options["threads"] = args.threads or threads_of_each(args.workers)
    options["max_queue"] = max(256, args.in_flight)
    setup = Setup(str(bundle.resolve()), options)
    if args.ray is None:
        with Workers(setup, args.workers) as workers:
            yield workers
    else:
        from .dataset.cluster import Cluster, Place  # noqa: PLC0415 (it needs Ray)

        place = Place(args.workers, cpus=max(1, options["threads"]), gpus=args.gpus)
        with Cluster(setup, place, args.ray) as cluster:
            yield cluster


def _measured(
    args: argparse.Namespace,
    folder: RunFolder,
    networks: Networks,
    made: int,
    stopwatch: Stopwatch,
    show: Callable[[str], Callable[[int, int], None]],
) -> dict[str, Any]:
    """The results of a complete run."""
    is_world = set(folder.plan.classes) == set(ScenesSegmenter.classes)
    if networks.labels is None and is_world:
        scenes = [one for one in networks.features if isinstance(one, ScenesSegmenter)]
        networks = dataclasses.replace(networks, labels=scenes[0] if scenes else None)
    if not is_world:
        others = [one for one in networks.scorers if not isinstance(one, DualEncoderScore)]
        networks = dataclasses.replace(networks, scorers=others)
    references = _references(args, folder, is_world)
    measurer = Measurer(folder, networks, references, stopwatch)
    measured = [
        measurer.measure(setting, show(f"measuring {setting.name}"))
        for setting in folder.plan.settings
    ]
    return results(folder, measured, networks, references, stopwatch, made)


def _networks(args: argparse.Namespace) -> Networks:
    """Those that were named, or what ships."""
    files = [FileNetwork(path, args.network_device) for path in args.network]
    of_kind = {
        kind: [network for network in files if network.description.kind == kind]
        for kind in ("features", "labels", "distance")
    }
    for kind in ("labels", "distance"):
        if len(of_kind[kind]) > 1:
            raise RequestError(f"two networks of kind {kind}; give one --network of it")
    features: list[FeatureNetwork] = list(of_kind["features"])
    if args.inception is not None:
        features.append(Inception(args.inception, args.network_device))
    segmenter = args.segmenter or shipped(SHIPPED_SEGMENTER)
    if args.clip is not None and args.dual_encoder is not None:
        raise RequestError("--clip and --dual-encoder are given; one of them scores")
    dual_encoder = args.dual_encoder or shipped(SHIPPED_DUAL_ENCODER)
    if not features and segmenter is not None:
        features.append(ScenesSegmenter(segmenter))
    scorers: list[TextScorer] = [FunctionScorer(name) for name in args.scorer]
    if args.clip is not None:
        scorers.append(ClipScorer(args.clip, args.network_device))
    elif dual_encoder is not None:
        scorers.append(DualEncoderScore(dual_encoder))
    return Networks(
        features=features,
        labels=next(iter(of_kind["labels"]), None),
        distance=next(iter(of_kind["distance"]), None),
        scorers=scorers,
    )


def _references(args: argparse.Namespace, folder: RunFolder, is_world: bool) -> References:
    """What was named; for a bundle of the world's classes its scenes."""
    default = f"world:{_SCENES}" if is_world else None
    pictures = args.reference or default
    maps = args.reference_maps or (pictures if is_world and _is_world(pictures) else None)
    first = next(folder.made(folder.plan.settings[0]))
    factor = folder.plan.labels_factor
    return References(
        None if pictures is None else _reference(pictures, first.picture().shape[0], maps=False),
        None
        if maps is None or factor is None
        else _reference(maps, first.map(factor).shape[0], maps=True),
    )


def _is_world(name: str | None) -> bool:
    return name is not None and name.partition(":")[0] == "world"


def _reference(name: str, side: int, maps: bool) -> Reference:
    if not _is_world(name):
        return PictureFolder(Path(name))
    count = name.partition(":")[2] or str(_SCENES)
    if not count.isdecimal() or int(count) < 2:
        raise RequestError(f"--reference {name!r} isn't world:N with N from 2 on")
    return WorldScenes(int(count), side, maps)


_T = TypeVar("_T")


def _as_argument(parse: Callable[[str], _T]) -> Callable[[str], _T]:
    """A parser whose ValueError argparse shows word for word."""

    def parsed(text: str) -> _T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def _natural(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} isn't a whole number from 1 on")
    return int(text)


def _part(text: str) -> Part:
    k, separator, n = text.partition("/")
    if not separator or not k.isdecimal() or not n.isdecimal() or not 1 <= int(k) <= int(n):
        raise argparse.ArgumentTypeError(f"{text!r} isn't K/N with K from 1 to N, e.g. 1/4")
    return Part(int(k), int(n))
