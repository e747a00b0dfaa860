"""Paints again where a picture lacks what was asked for, up to a budget.

    from fgdm import repaint
    from fgdm.scorers import SegmenterScorer

    scorer = SegmenterScorer("segmenter.onnx", engine.palette)
    result = repaint.generate(engine, "two dogs beside a house", scorer, repaint=3)

First from the next best map of those that were sampled, and when none is left with the next seed.
`result.repaint` says what was tried; the result is that of the best picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fgdm.errors import RequestError
from fgdm.request import required_integer
from fgdm.requirements import Reading, Requirements
from fgdm.result import Attempt, Candidate, Repaint, Result

if TYPE_CHECKING:
    from fgdm.engine import Engine
    from fgdm.request import RequestOptions
    from fgdm.scorers import PictureScorer
    from typing_extensions import Unpack

#: What a request says about maps that are sampled; with one that is given it says nothing.
_OF_SAMPLING = ("candidates", "prune", "stop_at_recall", "stop_at_compliance", "wave", "select")

#: Seeds are below this.
_SEEDS = 2**64


def generate(
    engine: Engine,
    prompt: str,
    scorer: PictureScorer,
    *,
    repaint: int = 1,
    **options: Unpack[RequestOptions],
) -> Result:
    """Like ``Engine.generate``, and scores the picture; one that fails is painted again.

    scorer: called with the picture, the prompt and its requirements (the request's, else what the
    engine reads in the prompt), on the thread that called this. repaint: how many more pictures
    there may be, 0 to 100. options: of ``Engine.submit``; a deadline is each picture's own.

    The result is that of the first picture that passed, else of the one with the highest score, the
    earlier first. Raises what ``Engine.generate`` and the scorer raise; RequestError where the
    image is sampled jointly with its map, which can't be given then, or where no labels are made.
    """
    if not 0 <= required_integer("repaint", repaint) <= 100:
        raise RequestError(f"repaint is {repaint}, expected 0 to 100 more pictures")
    if options.get("joint"):
        raise RequestError("repaint gives maps, which joint sampling makes anew; leave joint out")
    required = _required(engine, prompt, options)
    best: tuple[Result, Attempt] | None = None
    attempts: list[Attempt] = []
    for result, seed, candidate in _pictures(engine, prompt, options):
        score = scorer(result.image, prompt, required)
        attempts.append(
            Attempt(seed, candidate.index, float(score.value), bool(score.passed), score.unmet)
        )
        if best is None or _worth(attempts[-1]) > _worth(best[1]):
            best = result, attempts[-1]
        if score.passed or len(attempts) > repaint:
            break
    if best is None:  # there is always a first picture
        raise RequestError("no picture was painted")
    told = Repaint(best[1].passed, attempts.index(best[1]), tuple(attempts))
    return replace(best[0], repaint=told)


def _worth(attempt: Attempt) -> tuple[bool, float]:
    return attempt.passed, attempt.value


def _required(engine: Engine, prompt: str, options: Mapping[str, Any]) -> Requirements:
    given = options.get("requirements")
    if isinstance(given, Reading):
        given = given.requirements
    if given is not None:
        requirements: Requirements = given
        return requirements
    if options.get("objects") is not None:
        return {"objects": list(options["objects"])}
    return engine.find_requirements(prompt, bool(options.get("articles_count"))).requirements


def _pictures(
    engine: Engine, prompt: str, options: Mapping[str, Any]
) -> Iterator[tuple[Result, int, Candidate]]:
    """Pictures, each with its seed and the map that it was painted from."""
    seed = options.get("seed")
    while True:
        first = engine.generate(prompt, **{**options, "seed": seed})
        name = _labels_factor(engine, first)
        yield first, first.seed, first.candidates[first.chosen]
        for candidate in _others(first):
            again = engine.generate(prompt, **_from_map(options, first, name, candidate))
            yield again, first.seed, candidate
        seed = (first.seed + 1) % _SEEDS


def _labels_factor(engine: Engine, result: Result) -> str:
    """The last factor that made labels, whose candidates are the result's own."""
    makers = [
        str(one["name"])
        for one in engine.manifest["factors"]
        if one.get("palette") and one["name"] in result.factors
    ]
    if not makers:
        raise RequestError("this request makes no labels, so there is no map to paint again from")
    return makers[-1]


def _others(result: Result) -> list[Candidate]:
    """The maps that weren't chosen and may be painted, the best first, as the engine chooses."""
    usable = [
        one
        for index, one in enumerate(result.candidates)
        if index != result.chosen and not (one.pruned or one.failed or one.refused)
    ]
    return sorted(usable, key=lambda one: (-one.recall, -one.compliance, -one.smallest_area))


def _from_map(
    options: Mapping[str, Any], first: Result, name: str, candidate: Candidate
) -> dict[str, Any]:
    """The same request, painted from that map of the factor `name`."""
    factors: dict[str, Any] = dict(options.get("factors") or {})
    own: Mapping[str, Any] = factors.get(name) or {}
    told = ("prompt", "negative_prompt", "objects", "min_area")
    kept = {key: own[key] for key in told if key in own}
    made: dict[str, Any] = {key: value for key, value in options.items() if key not in _OF_SAMPLING}
    made.pop("condition_latents", None)
    made |= {"seed": first.seed, "factors": {**factors, name: {**kept, "map": candidate.map}}}
    return made
