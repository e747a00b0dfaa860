"""``fgdm edit``: a picture or a map in, changed where words say."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgdm.cli.arguments import names, text_of_factor
from fgdm.cli.opening import (
    add_machine_arguments,
    add_marking_arguments,
    default_bundle,
    open_engine,
    read_credentials,
)
from fgdm.errors import RequestError
from fgdm.files import OutputFolder
from fgdm.progress import Progress

if TYPE_CHECKING:
    from fgdm._core import StepInfo
    from fgdm.engine import Engine
    from fgdm.inversion import Edit, Inversion
    from fgdm.result import Result
    from fgdm.values import Picture
    from PIL.Image import Image

WAYS = ["mask", "pixel", "paste"]
OUTPUTS = [
    "image.png",
    *(f"image-{way}.png" for way in WAYS),
    "map-before.png",
    "side-by-side.png",
    "map.png",
    "result.json",
]

EPILOG = """\
examples:
  fgdm edit --of-map map.png --add "a chimp" --remove umbrella --prompt "a chimp on a bench"
  fgdm edit --of-image photo.png --add "a red house" --mask house.png --leave-out segmentation
  fgdm edit --of-image photo.png --way paste --add "a dog" --region cat --prompt "a dog"
  fgdm edit --of-map map.png --add "a dog" --region cat --prompt "a dog" --save dog.npz
  fgdm edit --inversion dog.npz --add "a cow" --prompt "a cow"
  fgdm edit --of-map map.png --picture photo.png --way mask --way pixel --way paste \\
      --remove cat --region cat --add "a dog" --prompt "a dog"

Takes the picture back into noise, and paints it again with the edits. Of a map, the image is
painted anew from the edited map, and says what --prompt says; with --picture and --way, that
picture is changed where the map did. Writes image.png, map.png and result.json into the output
folder, all of them or none; of several ways image-WAY.png of each, and side-by-side.png.

`fgdm --help` lists the exit codes.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments: those of ``Engine.invert`` and ``Engine.edit``."""
    add = parser.add_argument
    add("--bundle", type=Path, metavar="BUNDLE", help="default: as of fgdm generate")
    add("--output", type=Path, default=Path("out"), metavar="FOLDER", help="default: out")
    add("--json", action="store_true", help="print the result as JSON on standard output")
    add("--quiet", action="store_true", help="no progress and no summary")
    add("--prompt", default="", metavar="TEXT", help="what the edited picture shows")
    add("--seed", type=int, metavar="N", help="0 to 2^64 - 1; default: random, and reported")

    source = parser.add_argument_group("what is edited (one of three)")
    add = source.add_mutually_exclusive_group(required=True).add_argument
    add("--of-image", metavar="FILE", help="a picture, through the image factor")
    add("--of-map", metavar="FILE", help="a map, a picture or .npy of class indices")
    add("--inversion", metavar="FILE", help="what --save wrote")
    add = source.add_argument
    add("--factor", metavar="NAME", help="whose map it is; default: the last that makes labels")
    add("--save", metavar="FILE", help="keep the inversion, an .npz, for more edits")
    add("--picture", metavar="FILE", help="the picture that --of-map, or --inversion, belongs to")
    add(
        "--way",
        action="append",
        choices=WAYS,
        help="of an edited map: paint the picture anew (mask, the default), edit --picture with "
        "both maps (pixel), or paste what is new onto it (paste); once for each. With --of-image "
        "the map is read from that picture by the bundle's segmenter",
    )

    edits = parser.add_argument_group("edits (at least one)")
    add = edits.add_argument
    for name, what in (("add", "shall be there"), ("remove", "shall no longer be there")):
        add(
            f"--{name}",
            action="append",
            default=[],
            metavar="TEXT",
            help=f"what {what}; once for each",
        )
    add("--scale", type=float, default=5.0, metavar="G", help="of their guidance; default: 5")
    add("--warm-up", type=int, default=0, metavar="N", help="edited steps before them")
    add("--cool-down", type=int, metavar="N", help="edited steps after which they end")
    add(
        "--threshold",
        type=float,
        default=0.9,
        metavar="Q",
        help="quantile of the difference above which they act; 0: everywhere; default: 0.9",
    )
    add(
        "--attention",
        action="store_true",
        help="only where their words are looked at, too (a bundle with attention maps)",
    )
    add("--region", default="", metavar="CLASS", help="only where the map has this class")
    add("--mask", metavar="FILE", help="only where it is white, or transparent")
    add(
        "--free",
        action="store_true",
        help="let what the edits do not act on change too (LEDITS++ as published)",
    )
    add("--seam", type=int, metavar="PIXELS", help="around what changed (pixel, paste)")
    add("--strength", type=float, default=0.6, help="of the noise on a seam; default: 0.6")

    inversion = parser.add_argument_group("inversion (docs/editing.md)")
    add = inversion.add_argument
    add("--source-prompt", default="", metavar="TEXT", help="what the picture shows")
    add("--source-guidance-scale", type=float, default=1.0, metavar="G", help="default: 1")
    add("--sampler", default="dpmsolver++_sde", metavar="NAME", help="or ddim")
    add("--eta", type=float, default=1.0, metavar="ETA", help="of ddim: 1 (default), or 0")
    add("--steps", type=int, default=50, metavar="N", help="of the whole schedule; default: 50")
    add("--skip", type=float, default=0.2, metavar="F", help="of them, left out; default: 0.2")
    add("--height", type=int, metavar="PIXELS", help="of the image; default: as what is edited")
    add("--width", type=int, metavar="PIXELS", help="of the image; default: as what is edited")

    add = parser.add_argument_group("factors (docs/factors.md)").add_argument
    add(
        "--map",
        type=text_of_factor,
        action="append",
        default=[],
        metavar="FACTOR=FILE",
        help="a map that an image is inverted and edited with; once for each factor",
    )
    add("--leave-out", type=names, default=[], metavar="FACTOR,FACTOR", help="they make no map")
    add_marking_arguments(parser)
    add_machine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Edits, writes the output folder, and tells about it; the exit code."""
    _check_ways(args)
    bundle = args.bundle or default_bundle()
    read_picture: Callable[[str, str], Picture] = import_module("fgdm.picture_files").read_picture
    edits = _edits(args, None if args.mask is None else read_picture("--mask", args.mask))
    factors: dict[str, Any] = dict.fromkeys(args.leave_out)
    factors |= {factor: {"map": read_picture("--map", file)} for factor, file in args.map}
    credentials = read_credentials(args)
    of_map, picture = _sources(args, read_picture)
    with OutputFolder(args.output, OUTPUTS) as output:
        with contextlib.ExitStack() as stack:
            progress = None if args.quiet else stack.enter_context(Progress())
            if progress:
                progress.stage(f"loading {bundle}")
            engine = stack.enter_context(open_engine(args, bundle))
            reads_map = args.of_image is not None and bool(args.way)
            if reads_map and picture is not None:
                of_map = engine.segment(picture)
            inversion = _inversion(args, engine, edits, of_map, picture, factors, progress)
            results = _results(args, engine, inversion, edits, picture, factors, progress)
        if args.save is not None:
            inversion.save(args.save)
        result = next(iter(results.values()))
        several = len(results) > 1
        told = {way: one.to_json() for way, one in results.items()} if several else result.to_json()
        text = json.dumps(told, indent=2, allow_nan=False) + "\n"
        pictures = _pictures(results, inversion.picture if reads_map else None)
        if credentials is not None:
            for (way, one), name in zip(results.items(), tuple(pictures), strict=False):
                composed = way != "mask"  # in which the picture is painted anew
                pictures[name] = credentials.sign(
                    pictures[name], "png", one.engine.bundle, composed
                )
        written = output.write({**pictures, "result.json": text.encode("ascii")})
    if args.json:
        print(text, end="", flush=True)
    elif not args.quiet:
        count = f"{len(edits)} edit{'s' if len(edits) > 1 else ''} of {inversion.factor}"
        seconds = sum(one.timings["total"] for one in results.values())
        print(f"{count}; seed {result.seed}, {seconds:.1f} s", *written, sep="\n")
    return 0


def _sources(
    args: argparse.Namespace, read_picture: Callable[[str, str], Picture]
) -> tuple[Picture | None, Picture | None]:
    """The map and the picture that were given."""
    of_map = None if args.of_map is None else read_picture("--of-map", args.of_map)
    if args.of_image is not None:
        return of_map, read_picture("--of-image", args.of_image)
    return of_map, None if args.picture is None else read_picture("--picture", args.picture)


def _edits(args: argparse.Namespace, mask: Picture | None) -> list[Edit]:
    if not args.add and not args.remove:
        raise RequestError(
            "there is no edit; say what shall be there with --add, or what no longer with --remove"
        )
    kind = import_module("fgdm.inversion").Edit
    return [
        kind(
            text,
            direction,
            scale=args.scale,
            warm_up=args.warm_up,
            cool_down=args.cool_down,
            threshold=args.threshold,
            attention=args.attention,
            region=args.region,
            mask=mask,
        )
        for direction, all_texts in (("+", args.add), ("-", args.remove))
        for text in all_texts
    ]


def _check_ways(args: argparse.Namespace) -> None:
    """RequestError for --way and --picture where one lacks the other, or a map, and for what no
    seam can be."""
    if args.of_image is not None and args.picture is not None:
        raise RequestError("--of-image is the picture itself; leave --picture out")
    if args.picture is not None and not args.way:
        raise RequestError("--picture is given without --way; say --way pixel or --way paste")
    if args.picture is None and args.of_image is None and set(args.way or []) - {"mask"}:
        raise RequestError(
            f"--way {args.way[-1]} has no picture to edit; give the map's with --picture"
        )
    import_module("fgdm.paste").check_seam(args.seam, args.strength)


def _no_map() -> RequestError:
    return RequestError(
        "--way belongs to the edit of a map, and the inversion is of a picture; leave it out, or "
        "give the map with --of-map"
    )


def _results(
    args: argparse.Namespace,
    engine: Engine,
    inversion: Inversion,
    edits: list[Edit],
    picture: Picture | None,
    factors: dict[str, Any],
    progress: Progress | None,
) -> dict[str, Result]:
    """The edited pictures by way; of one that was edited itself the way is "image"."""
    options: dict[str, Any] = {
        "seed": args.seed,
        "factors": factors,
        "keep": not args.free,
        "step_callback": _shown(progress, "edit"),
    }
    is_map = inversion.factor != engine.manifest["factors"][-1]["name"]
    if not is_map and args.way:
        raise _no_map()
    if not is_map:
        return {"image": engine.edit(inversion, edits, args.prompt, **options)}
    edit_in_ways = import_module("fgdm.ways").edit_in_ways
    results: dict[str, Result] = edit_in_ways(
        engine,
        inversion,
        edits,
        args.prompt,
        image=picture,
        ways=args.way or ["mask"],
        seam=args.seam,
        strength=args.strength,
        **options,
    )
    return results


def _inversion(
    args: argparse.Namespace,
    engine: Engine,
    edits: list[Edit],
    of_map: Picture | None,
    picture: Picture | None,
    factors: dict[str, Any],
    progress: Progress | None,
) -> Inversion:
    if args.inversion is not None:
        loaded: Inversion = import_module("fgdm.inversion").Inversion.load(args.inversion)
        return loaded
    return engine.invert(
        image=picture if of_map is None else None,
        map=of_map,
        factor=args.factor,
        prompt=args.source_prompt,
        guidance_scale=args.source_guidance_scale,
        sampler=args.sampler,
        eta=args.eta,
        steps=args.steps,
        skip=args.skip,
        edits=edits,
        seed=args.seed,
        height=args.height,
        width=args.width,
        factors=factors,
        step_callback=_shown(progress, "inversion"),
    )


def _shown(progress: Progress | None, what: str) -> Callable[[StepInfo], None] | None:
    if progress is None:
        return None

    def show(info: StepInfo) -> None:
        progress.step(f"{what}, {info.factor}", info.step + 1, info.num_steps)

    return show


def _pictures(results: dict[str, Result], before: Image | None) -> dict[str, bytes]:
    """PNG files by name: those of the results first, in their order. before: the map that was read
    from the picture."""
    from fgdm.picture_files import png  # noqa: PLC0415 (the first output comes sooner)

    images = [one.image for one in results.values()]
    if len(images) == 1:
        pictures = {"image.png": png(images[0])}
    else:
        pictures = {f"image-{way}.png": png(one.image) for way, one in results.items()}
        width, height = images[0].size  # all have the size of the request's image
        strip = import_module("PIL.Image").new("RGB", (width * len(images), height))
        for i, image in enumerate(images):
            strip.paste(image, (i * width, 0))
        pictures["side-by-side.png"] = png(strip)
    result = next(iter(results.values()))
    if result.candidates:
        pictures["map.png"] = png(result.map)
    if before is not None:
        pictures["map-before.png"] = png(before)
    return pictures
