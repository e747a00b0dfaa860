"""``fgdm evaluate prompts``: fewer prompts that stand for many."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fgdm.cli.arguments import whole_numbers
from fgdm.cli.opening import default_bundle
from fgdm.errors import RequestError
from fgdm.files import read_regular, write_all
from fgdm.tuning.prompts import Prompt, read_prompts

from .networks.dual_encoder import DualEncoderTexts
from .networks.texts import BundleTexts, ClipTexts, TextNetwork
from .prompt_choice import around_percentiles, distances_of_parts, random_part
from .run_folder import RunFolder

EPILOG = """\
examples:
  fgdm evaluate prompts --prompts all.txt --size 5000 --sizes 150,500,1000 --clip clip \\
    --output part.json
  fgdm evaluate BUNDLE --prompts part.json --clip clip --output runs/part
  fgdm evaluate prompts --run runs/part --score "CLIP score (clip)" --count 150 --output few.json

The first draws a random part and says how far its text embeddings are from those of all (Fréchet
distance). The last takes an equal number of prompts around the 90th, the 50th and the 10th
percentile of a score (segmentation-free guidance, section 5.3).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--prompts", type=Path, metavar="FILE", help="as of `fgdm evaluate run`")
    source.add_argument(
        "--run", type=Path, dest="measured", metavar="FOLDER", help="of a measured run"
    )
    add = parser.add_argument
    add("--output", type=Path, required=True, metavar="FILE", help="JSON, for --prompts")
    part = parser.add_argument_group("a random part of --prompts")
    add = part.add_argument
    add("--size", type=int, default=5000, metavar="N", help="default: 5000")
    add(
        "--sizes",
        type=whole_numbers,
        default=[],
        metavar="N,N",
        help="others to tell the distance of",
    )
    add("--seed", type=int, default=0, metavar="N", help="default: 0")
    embeds = part.add_mutually_exclusive_group()
    add = embeds.add_argument
    add("--clip", type=Path, metavar="FOLDER", help="a CLIP model as transformers saves it")
    add(
        "--dual-encoder",
        type=Path,
        metavar="FOLDER",
        help="of the scenes dual encoder, such as benchmarks/dual_encoder",
    )
    add("--bundle", type=Path, metavar="FOLDER", help="whose text encoder embeds, if neither does")
    few = parser.add_argument_group("prompts around percentiles of --run")
    add = few.add_argument
    add("--score", metavar="KEY", help="of results.json; default: the first of a scorer")
    add("--setting", metavar="NAME", help="default: the first")
    add("--count", type=int, default=150, metavar="N", help="default: 150")


def run(args: argparse.Namespace) -> int:
    """Chooses, writes and says what was chosen; the exit code."""
    try:
        chosen = _part(args) if args.measured is None else _around(args)
    except ValueError as error:
        raise RequestError(f"{error}; choose other numbers") from None
    entries = [
        {"prompt": one.text} | ({} if one.objects is None else {"objects": list(one.objects)})
        for one in chosen
    ]
    write_all({args.output: (json.dumps(entries, indent=1) + "\n").encode()})
    print(f"{args.output}: {len(chosen)} prompts")
    return 0


def _part(args: argparse.Namespace) -> list[Prompt]:
    prompts = read_prompts(args.prompts)
    part = random_part(len(prompts), args.size, args.seed)
    network: TextNetwork
    if args.clip is not None:
        network = ClipTexts(args.clip)
    elif args.dual_encoder is not None:
        network = DualEncoderTexts(args.dual_encoder)
    else:
        network = BundleTexts(args.bundle or default_bundle())
    sizes = sorted({*args.sizes, args.size})
    if sizes[0] < 2:
        raise ValueError("a part of one prompt has no distribution")
    embeddings = network.embed([one.text for one in prompts])
    print(f"Fréchet distance of embeddings to those of all {len(prompts)}, by the {network.name}")
    for size, distance in distances_of_parts(embeddings, sizes, args.seed).items():
        print(f"  {size:>7} {distance:.4f}")
    return [prompts[i] for i in part]


def _around(args: argparse.Namespace) -> list[Prompt]:
    folder = RunFolder.read(args.measured)
    try:
        results = json.loads(read_regular(args.measured / "results.json"))
    except (OSError, ValueError) as error:
        raise RequestError(
            f"can't read {args.measured / 'results.json'}: {error}; "
            "finish `fgdm evaluate run` first"
        ) from None
    settings = {one["name"]: one for one in results["settings"]}
    name = args.setting or next(iter(settings))
    scores = _named("setting", name, settings)["scores"]
    key = args.score or next(iter(results["networks"]["scorers"]), "picture_recall")
    values: Sequence[float] = _named("score", key, scores)["by_prompt"]
    found = around_percentiles(values, args.count)
    print(f"{key} under {name}")
    for percentile, part in found.items():
        own = [values[i] for i in part]
        print(f"  percentile {percentile:g}: {len(own)} prompts, {min(own):.3f} to {max(own):.3f}")
    return [folder.plan.prompts[i] for part in found.values() for i in part]


def _named(what: str, name: str, known: Mapping[str, Any]) -> Any:
    if name not in known:
        raise RequestError(f"the run has no {what} {name!r}; it has {', '.join(known)}")
    return known[name]
