"""The arguments of ``fgdm generate`` about single factors, and about a picture to begin with."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, TypedDict, cast

from fgdm.cli.arguments import names, number_of_factor, options_of_factor, text_of_factor
from fgdm.errors import RequestError

if TYPE_CHECKING:
    from fgdm.request import FactorOptions
    from fgdm.values import Picture


class Options(TypedDict):
    """The parameters of ``Engine.submit`` that are told by these arguments."""

    factors: dict[str, FactorOptions | None] | None
    joint: list[str] | None
    joint_refresh: int | None
    image: Picture | None
    strength: float | None
    mask: Picture | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds them in two groups."""
    factors = parser.add_argument_group("factors (docs/factors.md)")
    for name, form, metavar, what in (
        ("map", text_of_factor, "FILE", "its map, a picture or .npy of class indices, not sampled"),
        ("map-strength", number_of_factor, "S", "fraction of the steps that change that map"),
        ("factor-prompt", text_of_factor, "TEXT", "its own prompt; default: PROMPT"),
        ("factor-options", options_of_factor, "JSON", "other options of its own"),
    ):
        factors.add_argument(
            f"--{name}",
            type=form,
            action="append",
            default=[],
            metavar=f"FACTOR={metavar}",
            help=f"{what}; once for each factor",
        )
    add = factors.add_argument
    add("--with", type=names, default=[], metavar="FACTOR,FACTOR", help="optional: they make one")
    add("--leave-out", type=names, default=[], metavar="FACTOR,FACTOR", help="they make no map")
    add(
        "--joint",
        type=names,
        metavar="FACTOR,FACTOR",
        help="they are sampled together; with image, every candidate has an image of its own",
    )
    add(
        "--joint-refresh",
        type=int,
        metavar="N",
        help="steps after which ControlNets of joint factors see the maps anew; default: 4",
    )

    add = parser.add_argument_group("image from image, and inpainting").add_argument
    add("--image", metavar="FILE", help="to begin with instead of noise; of the image's size")
    add(
        "--strength",
        type=float,
        metavar="S",
        help="fraction of the steps that change it; default: 0.8, with a mask 1",
    )
    add(
        "--mask",
        metavar="FILE",
        help="where it is painted anew: transparent in a picture with alpha, white in another",
    )


def options(args: argparse.Namespace) -> Options:
    """What the arguments say; their files are read.

    Raises RequestError for a file that is no picture, and where two things are said of a factor.
    """
    if args.joint == []:
        raise RequestError("--joint names no factor; leave it out, or name two or more")
    # Not before it is needed: other commands do without numpy and Pillow.
    read_picture: Callable[[str, str], Picture] = import_module("fgdm.picture_files").read_picture
    factors: dict[str, dict[str, object] | None] = dict.fromkeys(args.leave_out)
    for argument, said in (
        ("--with", [(factor, {}) for factor in vars(args)["with"]]),
        ("--map", [(factor, {"map": file}) for factor, file in args.map]),
        ("--map-strength", [(factor, {"strength": s}) for factor, s in args.map_strength]),
        ("--factor-prompt", [(factor, {"prompt": text}) for factor, text in args.factor_prompt]),
        ("--factor-options", args.factor_options),
    ):
        for factor, more in said:
            given = factors.setdefault(factor, {})
            if given is None:
                raise RequestError(f"{argument} names {factor}, which --leave-out names too")
            twice = given.keys() & more.keys()
            if twice:
                raise RequestError(f"{argument} says {min(twice)} of {factor} again; say it once")
            given |= more
            file = given.get("map")
            if isinstance(file, str):
                given["map"] = read_picture(argument, file)
    return {
        "factors": cast("dict[str, FactorOptions | None]", factors) or None,
        "joint": args.joint,
        "joint_refresh": args.joint_refresh,
        "image": None if args.image is None else read_picture("--image", args.image),
        "strength": args.strength,
        "mask": None if args.mask is None else read_picture("--mask", args.mask),
    }
