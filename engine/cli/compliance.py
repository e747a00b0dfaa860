"""The arguments of ``fgdm generate`` about requirements, and what must not be painted."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from fgdm import extras
from fgdm.cli.arguments import filters, json_in, load_function
from fgdm.errors import RequestError

if TYPE_CHECKING:
    from fgdm.engine import Engine
    from fgdm.requirements import Reading
    from fgdm.result import Result
    from fgdm.scorers import PictureScorer


class Options(TypedDict):
    """The parameters of ``Engine.submit`` that are told by these arguments."""

    requirements: dict[str, Any] | Reading | None
    articles_count: bool | None
    instance_opening: int | None
    select: str | Callable[..., Any] | None
    stop_at_compliance: float | None
    forbid: list[Any] | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds them in a group."""
    add = parser.add_argument_group("requirements (docs/compliance.md)").add_argument
    add(
        "--select",
        type=_choice,
        metavar="NAME",
        help="what the map is chosen by: recall (default), compliance: counts and places too, or "
        "MODULE:FUNCTION of your own (docs/compliance.md)",
    )
    add(
        "--stop-at-compliance",
        type=float,
        metavar="SHARE",
        help="of met requirements, with which a map has won; default: the bundle's stop_at_recall",
    )
    add(
        "--requirements",
        type=_json_object,
        metavar="JSON",
        help="counts, places and what shall be absent; default: what the prompt says",
    )
    add(
        "--requirements-from",
        choices=["prompt", "llm"],
        default="prompt",
        help="who reads the prompt: fgdm's grammar (default), or a language model, which needs "
        "the next two (pip install 'fgdm[llm]')",
    )
    add("--llm-base-url", metavar="URL", help="an OpenAI-compatible endpoint: http://.../v1")
    add("--llm-model", metavar="NAME", help="the model's name there; $FGDM_LLM_API_KEY is its key")
    add("--llm-timeout", type=float, default=30.0, metavar="SECONDS", help="for all; default: 30")
    add("--llm-shots", type=int, default=1, metavar="N", help="examples it sees: 0, or 1 (default)")
    add(
        "--llm-fallback",
        choices=["prompt", "error"],
        default="prompt",
        help="where the model fails, fgdm's grammar reads the prompt (default), or the run fails",
    )
    add(
        "--repaint",
        type=int,
        metavar="N",
        help="paint up to N more pictures until one passes: the bundle's segmenter looks at them, "
        "or one of the next two",
    )
    add("--segmenter", metavar="FILE", help="ONNX; the picture passes if it meets all requirements")
    add(
        "--dual-encoder",
        nargs=3,
        metavar=("IMAGE", "TEXT", "COSINE"),
        help="two ONNX files, as of CLIP; the picture passes from that cosine to the prompt on",
    )
    add("--articles-count", action="store_true", help='"a dog" is exactly one dog')
    add(
        "--instance-opening",
        type=int,
        metavar="PIXELS",
        help="of the map: things that touch by bridges up to twice as wide count apart",
    )
    add(
        "--forbid",
        type=filters,
        metavar="NAME,NAME",
        help="classes whose maps aren't painted, or a JSON list of {classes, min_area}",
    )


def options(args: argparse.Namespace, prompt: str, engine: Engine) -> Options:
    """What the arguments say. Asks a language model if they want one."""
    return {
        "requirements": _read(args, prompt, engine)
        if args.requirements_from == "llm"
        else args.requirements,
        "articles_count": args.articles_count or None,
        "instance_opening": args.instance_opening,
        "select": args.select,
        "stop_at_compliance": args.stop_at_compliance,
        "forbid": args.forbid,
    }


def generate(args: argparse.Namespace, engine: Engine, bundle: Path) -> Callable[..., Result]:
    """What generates: the engine, or if the arguments want pictures scored, what paints again."""
    if args.repaint is None and args.segmenter is None and args.dual_encoder is None:
        return engine.generate
    scorer = _scorer(args, engine, bundle)
    generate: Callable[..., Result] = importlib.import_module("fgdm.repaint").generate

    def scored(prompt: str, **options: Any) -> Result:
        return generate(engine, prompt, scorer, repaint=args.repaint or 0, **options)

    return scored


def _scorer(args: argparse.Namespace, engine: Engine, bundle: Path) -> PictureScorer:
    """What looks at pictures: what the arguments name, else the bundle's own segmenter."""
    if args.segmenter is None and args.dual_encoder is None:
        engine.need_segmenter("check the picture; give --segmenter or --dual-encoder")
        return engine.score
    scorers = extras.load("fgdm.scorers", "cpu")
    if args.segmenter is not None:
        if engine.palette is None:
            raise RequestError("--segmenter checks classes, and this bundle has no palette")
        named: PictureScorer = scorers.SegmenterScorer(args.segmenter, engine.palette)
        return named
    image, text, threshold = args.dual_encoder
    compared: PictureScorer = scorers.DualEncoderScorer(
        image,
        text,
        bundle / engine.manifest["text_encoder"]["tokenizer"],
        threshold=float(threshold),
    )
    return compared


def check(args: argparse.Namespace) -> None:
    """RequestError for arguments that contradict each other, before anything is loaded."""
    if args.segmenter is not None and args.dual_encoder is not None:
        raise RequestError("--segmenter and --dual-encoder are given; one of them scores")
    if args.dual_encoder is not None:
        try:
            cosine = float(args.dual_encoder[2])
        except ValueError:
            cosine = float("nan")
        if not -1.0 <= cosine <= 1.0:
            raise RequestError(
                f"the cosine of --dual-encoder is {args.dual_encoder[2]!r:.100}, "
                "expected a number from -1 to 1"
            )
    if args.requirements_from != "llm":
        if args.llm_base_url or args.llm_model:
            raise RequestError("a language model is named; --requirements-from llm asks it")
        return
    if args.requirements is not None:
        raise RequestError("--requirements are given, so there is nothing to read from the prompt")
    if not (args.llm_base_url and args.llm_model):
        raise RequestError("--requirements-from llm needs --llm-base-url URL and --llm-model NAME")


def _read(args: argparse.Namespace, prompt: str, engine: Engine) -> Reading:
    llm = extras.load("fgdm.llm", "llm")
    model = llm.LanguageModel(
        args.llm_base_url,
        args.llm_model,
        timeout=args.llm_timeout,
        shots=args.llm_shots,
        fallback=args.llm_fallback,
    )
    reading: Reading = model.read(prompt, engine.palette)
    return reading


def _choice(text: str) -> str | Callable[..., Any]:
    """A name, or the function that MODULE:FUNCTION names."""
    if ":" not in text:
        return text
    try:
        function: Callable[..., Any] = load_function("--select", text)
    except RequestError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return function


def _json_object(text: str) -> dict[str, Any]:
    value = json_in(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(
            f"{text!r:.200} isn't a JSON object, e.g. "
            '\'{"objects": [{"class": "dog", "count": 2}]}\''
        )
    return value
