"""``fgdm generate``: a prompt in; image, map, candidates and result out."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fgdm
from fgdm.cli import compliance, factors
from fgdm.cli.arguments import interval, names, numbers, scale, whole_numbers
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
from fgdm.summary import summary

if TYPE_CHECKING:
    from fgdm._core import StepInfo
    from fgdm.result import Result

OUTPUTS = ["image.png", "map.png", "candidates.png", "result.json"]

EPILOG = """\
examples:
  fgdm generate "two dogs beside a house under a tree"
  fgdm generate "a boat on the sea" --candidates 5 --seed 7 --output boat
  fgdm generate "a busy street" --objects "car,bus,person"
  fgdm generate "a house under a tree" --map segmentation=map.png
  fgdm generate "a boat" --leave-out segmentation --image photo.png --mask hole.png
  echo "a cat on a bench" | fgdm generate - --json --quiet > result.json

Writes image.png, map.png, candidates.png (all maps, their recall and classes, the chosen one
marked) and result.json into the output folder, all of them or none. A bundle of several factors
has map_FACTOR.png for the others; a request without maps has neither map.png nor candidates.png.
What an earlier run left under these names is replaced or removed.

`fgdm --help` lists the exit codes.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments: the parameters of ``Engine.submit``, and where things are."""
    add = parser.add_argument
    add(
        "prompt", metavar="PROMPT", help="what the image shall show; - reads it from standard input"
    )
    add(
        "--bundle",
        type=Path,
        metavar="BUNDLE",
        help="folder or archive; default: $FGDM_BUNDLE, else bundles/scenes of the source folder",
    )
    add("--output", type=Path, default=Path("out"), metavar="FOLDER", help="default: out")
    add("--json", action="store_true", help="print the result as JSON on standard output")
    add("--quiet", action="store_true", help="no progress and no summary")

    request = parser.add_argument_group("request")
    add = request.add_argument
    add("--negative-prompt", default="", metavar="TEXT", help="what to steer away from")
    add(
        "--objects",
        type=names,
        metavar="NAME,NAME",
        help="the classes that recall counts; default: those that the prompt names",
    )
    add("--candidates", type=int, default=10, metavar="N", help="maps to sample; default: 10")
    add("--seed", type=int, metavar="N", help="0 to 2^64 - 1; default: random, and reported")
    add("--height", type=int, metavar="PIXELS", help="of the image; maps have half of it")
    add("--width", type=int, metavar="PIXELS", help="of the image; maps have half of it")
    add(
        "--min-area",
        type=float,
        metavar="FRACTION",
        help="of a map, from which on a class counts as found; default: the bundle's",
    )

    sampling = parser.add_argument_group("sampling (defaults come from the bundle)")
    add = sampling.add_argument
    add("--condition-steps", type=int, metavar="N", help="steps for the maps")
    add("--num-inference-steps", type=int, metavar="N", help="steps for the image")
    samplers = "ddim, dpmsolver++, dpmsolver++_sde, euler, euler_ancestral, unipc, lcm or tcd: of"
    add("--sampler", metavar="NAME", help=f"{samplers} the image")
    add("--condition-sampler", metavar="NAME", help=f"{samplers} the maps")
    spacings = "leading, trailing, linspace, karras or exponential: which timesteps are visited, of"
    add("--timestep-spacing", metavar="NAME", help=f"{spacings} the image")
    add("--condition-timestep-spacing", metavar="NAME", help=f"{spacings} the maps")
    add("--cache-interval", type=int, metavar="N", help="of N image steps, 1 takes all levels")
    add("--cache-level", type=int, metavar="N", help="outer levels that the others take, 1 or 2")
    add("--guidance", metavar="NAME", help="of the image: segfree or cfg")
    add("--guidance-scale", type=float, metavar="G", help="of the image")
    add("--condition-guidance-scale", type=float, metavar="G", help="of the maps")
    add("--segfree-scale", type=float, metavar="A", help="weight of the strongest token is -A")
    add("--segfree-guidance-scale", type=float, metavar="G", help="of the segmentation-free steps")
    add(
        "--segfree-start",
        type=float,
        metavar="FRACTION",
        help="of the steps, after which guidance is segmentation-free",
    )
    add(
        "--controlnet-conditioning-scale",
        type=numbers,
        metavar="S[,S]",
        help="weight of what the image is painted from, one for all networks or one for each",
    )

    add(
        "--lora",
        type=scale,
        action="append",
        default=[],
        metavar="NAME=SCALE",
        help="a LoRA of the bundle and its weight; repeatable (fgdm inspect tells their names)",
    )

    for name, what in (("", "the image"), ("condition-", "the maps")):
        add(
            f"--{name}guidance-interval",
            type=interval,
            default=(0.0, 1.0),
            metavar="START,STOP",
            help=f"fractions of the steps of {what} in which there is guidance; default: 0,1",
        )

    saving = parser.add_argument_group("spending less on maps that cannot win")
    add = saving.add_argument
    add(
        "--prune",
        type=whole_numbers,
        default=(),
        metavar="STEP,STEP",
        help="map steps after which the worse half of the candidates is dropped",
    )
    add(
        "--stop-at-recall",
        type=float,
        metavar="RECALL",
        help="with which a map has won and no other needs to be finished; 0: finish all; "
        "default: the bundle's",
    )
    add(
        "--wave",
        type=int,
        metavar="N",
        help="candidates to sample at a time, until one has won; 0: all; default: the bundle's",
    )
    add("--deadline", type=float, metavar="SECONDS", help="after which the request fails")

    compliance.add_arguments(parser)
    factors.add_arguments(parser)
    add_marking_arguments(parser)
    add_machine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Generates, writes the output folder, and tells about it; the exit code."""
    prompt = _read_prompt() if args.prompt == "-" else args.prompt
    bundle = args.bundle or default_bundle()
    of_factors = factors.options(args)
    compliance.check(args)
    credentials = read_credentials(args)
    with OutputFolder(args.output, OUTPUTS) as output:
        result, manifest = _generate(args, prompt, bundle, of_factors)
        measured = _measured(manifest, result)
        text = json.dumps(result.to_json(), indent=2, allow_nan=False) + "\n"
        pictures = _pictures(result, measured)
        if credentials is not None:
            bundle_name, composed = result.engine.bundle, args.image is not None
            image = credentials.sign(pictures["image.png"], "png", bundle_name, composed)
            pictures["image.png"] = image
        written = output.write(
            {**pictures, "result.json": text.encode("ascii")},
            absent=[_map_file(factor["name"]) for factor in manifest["factors"]],
        )
    lines = [] if args.quiet else [*summary(result, measured, args.leave_out), *map(str, written)]
    if args.json:
        print(text, end="", flush=True)
        with contextlib.suppress(OSError):  # what can't be told is no reason to fail
            print(*lines, sep="\n", end="\n" if lines else "", file=sys.stderr, flush=True)
    elif lines:
        print(*lines, sep="\n")
    return 0


def _generate(
    args: argparse.Namespace, prompt: str, bundle: Path, of_factors: factors.Options
) -> tuple[Result, Mapping[str, Any]]:
    """The result, and the bundle's manifest."""
    with contextlib.ExitStack() as stack:
        progress = None if args.quiet else stack.enter_context(Progress())
        if progress:
            progress.stage(f"loading {bundle}")
        engine = stack.enter_context(open_engine(args, bundle))

        def show(info: StepInfo) -> None:
            if progress:
                count = len(info.candidates)
                maps = f", {count} candidates" if count > 1 else ""
                progress.step(f"{info.factor}{maps}", info.step + 1, info.num_steps)

        result = compliance.generate(args, engine, bundle)(
            prompt,
            negative_prompt=args.negative_prompt,
            objects=args.objects,
            candidates=args.candidates,
            seed=args.seed,
            condition_steps=args.condition_steps,
            num_inference_steps=args.num_inference_steps,
            guidance=args.guidance,
            guidance_scale=args.guidance_scale,
            condition_guidance_scale=args.condition_guidance_scale,
            segfree_scale=args.segfree_scale,
            segfree_guidance_scale=args.segfree_guidance_scale,
            segfree_start=args.segfree_start,
            controlnet_conditioning_scale=args.controlnet_conditioning_scale,
            loras=_loras(args.lora),
            sampler=args.sampler,
            condition_sampler=args.condition_sampler,
            timestep_spacing=args.timestep_spacing,
            condition_timestep_spacing=args.condition_timestep_spacing,
            cache_interval=args.cache_interval,
            cache_level=args.cache_level,
            min_area=args.min_area,
            height=args.height,
            width=args.width,
            prune=args.prune,
            stop_at_recall=args.stop_at_recall,
            wave=args.wave,
            guidance_interval=args.guidance_interval,
            condition_guidance_interval=args.condition_guidance_interval,
            deadline=args.deadline,
            step_callback=show if progress else None,
            **compliance.options(args, prompt, engine),
            **of_factors,
        )
    return result, engine.manifest


def _loras(given: list[tuple[str, float]]) -> dict[str, float]:
    scales = dict(given)
    if len(scales) < len(given):
        raise RequestError("--lora names a LoRA twice; give it one weight")
    return scales


def _measured(manifest: Mapping[str, Any], result: Result) -> str | None:
    """The factor that the result's own candidates are of: the last that made labels, else the last
    that made a map; None if none did."""
    made = [factor for factor in manifest["factors"] if factor["name"] in result.factors]
    labels = [factor for factor in made if factor.get("palette")]
    return str((labels or made)[-1]["name"]) if made else None


def _pictures(result: Result, measured: str | None) -> dict[str, bytes]:
    """The image and its maps as PNG files, by name."""
    from fgdm.picture_files import png  # noqa: PLC0415 (the first output comes sooner)

    pictures = {"image.png": png(result.image)}
    for name, factor in result.factors.items():
        if name == measured:
            pictures["map.png"] = png(factor.map)
            pictures["candidates.png"] = png(fgdm.candidates_picture(result))
        else:
            pictures[_map_file(name)] = png(factor.map)
    return pictures


def _map_file(factor: str) -> str:
    return f"map_{factor.replace('/', '_')}.png"


#: Bytes of standard input; a prompt of so many is too long.
_MOST_INPUT = 2**20


def _read_prompt() -> str:
    content = sys.stdin.buffer.read(_MOST_INPUT)
    try:
        return content.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise RequestError(
            f"the prompt on standard input isn't UTF-8 text: byte {error.start} is "
            f"0x{content[error.start]:02x}; convert it to UTF-8"
        ) from None
