"""The command line that benchmarks share: which bundle, prompts and runtime, and where to write."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from fgdm.train.prompts import HeldOutPrompt, load_prompts

from benchmarks.machine import available_cores

#: For benchmarks that need one prompt with several things.
PROMPT = "two dogs beside a house under a tree with a kite and the sun"

_FOLDER = Path(__file__).parent


def make_parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser that knows the bundle, the engine's options and the output."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("bundles/scenes"))
    parser.add_argument("--backend", default="auto", help="of the engine")
    parser.add_argument("--precision", default="auto", help="of the engine, and of its rivals")
    parser.add_argument(
        "--threads", type=int, default=available_cores(), help="of every side; default: all cores"
    )
    parser.add_argument("--output", type=Path, help="JSON file of the results")
    return parser


def add_prompts(parser: argparse.ArgumentParser) -> None:
    """Which held-out prompts."""
    parser.add_argument("--prompts", type=Path, default=_FOLDER / "prompts.json")
    parser.add_argument("--every", type=int, default=1, help="use every n-th prompt only")


def add_minutes(parser: argparse.ArgumentParser) -> None:
    """How long to measure; a run that keeps a `Journal` goes on another time."""
    parser.add_argument(
        "--minutes",
        type=float,
        default=math.inf,
        help="begin nothing after so many, and tell what there is",
    )


def add_segmenter(parser: argparse.ArgumentParser) -> None:
    """What judges painted pictures."""
    parser.add_argument(
        "--segmenter", type=Path, default=_FOLDER / "segmenter.safetensors", help="weights"
    )


def chosen_prompts(given: argparse.Namespace) -> list[HeldOutPrompt]:
    """The prompts that `add_prompts` asks for."""
    return load_prompts(given.prompts)[:: given.every]


def engine_options(given: argparse.Namespace) -> dict[str, Any]:
    """Arguments of ``fgdm.Engine``."""
    return {"backend": given.backend, "precision": given.precision, "threads": given.threads}
