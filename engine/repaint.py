"""Paints again where a picture lacks what was asked for, up to a budget.

    from fgdm import repaint

    result = repaint.generate(engine, "two dogs beside a house", repaint=3)

The bundle's segmenter looks at the pictures, or a scorer of yours (fgdm.scorers). Painted again is
first the next best map of those that were sampled and hold as much, and when none is left that of
the next seed.
`result.repaint` says what was tried; the result is that of the best picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fgdm.errors import RequestError
from fgdm.factor_result import Candidate
from fgdm.requirements import Reading, Requirements
from fgdm.result import Attempt, Repaint, Result
from fgdm.values import required_integer, texts

if TYPE_CHECKING:
    from fgdm.engine import Engine
    from fgdm.request import RequestOptions
    from fgdm.scorers import PictureScorer, Score
    from typing_extensions import Unpack

#: Pictures that may follow the first.
MOST = 100

#: What a request says about maps that are sampled; with one that is given it says nothing.
_OF_SAMPLING = ("candidates", "prune", "stop_at_recall", "stop_at_compliance", "wave", "select")

#: What a seed draws where a request doesn't give it: another seed draws it anew.
_NOISE = ("latents", "condition_latents")

#: Seeds are below this.
_SEEDS = 2**64


def generate(
    engine: Engine,
    prompt: str,
    scorer: PictureScorer | None = None,
    *,
    repaint: int = 1,
    **options: Unpack[RequestOptions],
) -> Result:
    """Like ``Engine.generate``, and scores the picture; one that fails is painted again.

    scorer: called with the picture, the prompt and its requirements (the request's, else what the
    engine reads in the prompt), on the thread that called this; by default the bundle's own
    segmenter, ``Engine.score``. repaint: how many more pictures there may be, 0 to 100. options:
    of ``Engine.submit``; a deadline is each picture's own.

    The result is that of the first picture that passed, else of the one with the highest score, the
    earlier first, with all maps that its own was one of; map_rows and timings are those of all
    attempts. Raises what ``Engine.generate`` and the scorer raise; RequestError where the image is
    sampled jointly with its map, which can't be given then, where no labels are made, or where
    there is neither a scorer nor a segmenter.

    As a picture is judged by all requirements, so are the maps: select is "compliance", unless that
    or stop_at_recall is given.
    """
    if scorer is None:
        engine.need_segmenter("check the picture; give a scorer (fgdm.scorers)")
        scorer = engine.score
    painting = Painting(engine, prompt, options, repaint)
    while painting.options is not None:
        result = engine.generate(prompt, **painting.options)
        painting.take(result, scorer(result.image, prompt, painting.required))
    return painting.result


class Painting:
    """What is tried for one picture, for whoever paints and scores it.

    ``options`` of ``Engine.submit`` are those of the next attempt, None when there is none; what it
    resulted in and its score are given to ``take``. ``required``: what the picture is scored by.
    ``result``: as ``generate`` returns it, after one ``take`` or more.

    seed_step: from the seed of an attempt to that of the next that samples maps.
    Raises RequestError as ``generate`` does.
    """

    def __init__(
        self,
        engine: Engine,
        prompt: str,
        options: Mapping[str, Any],
        repaint: int,
        seed_step: int = 1,
    ) -> None:
        if not 0 <= required_integer("repaint", repaint) <= MOST:
            raise RequestError(f"repaint is {repaint}, expected 0 to {MOST} more pictures")
        if options.get("joint"):
            raise RequestError(
                "repaint gives maps, which joint sampling makes anew; leave joint out"
            )
        self._factor = _labels_factor(engine, options)
        given = _listed(options)
        if isinstance(factors := given.get("factors"), Mapping):
            given["factors"] = {
                name: _listed(own) if isinstance(own, Mapping) else own
                for name, own in factors.items()
            }
        if given.get("select") is None and given.get("stop_at_recall") is None:
            given["select"] = "compliance"  # as the picture is judged
        self.options: dict[str, Any] | None = given
        self._given = given
        self.required = _required(engine, prompt, given, self._factor)
        self._repaint, self._seed_step = repaint, seed_step
        self._attempts: list[Attempt] = []
        self._best: Result | None = None
        self._kept = 0
        self._first: Result | None = None  # which sampled the maps that are painted from
        self._untried: list[Candidate] = []
        self._candidate: Candidate | None = None  # which the next attempt is given
        self._rows = 0
        self._timings: dict[str, float] = {}

    @property
    def attempts(self) -> int:
        """How many were taken."""
        return len(self._attempts)

    def take(self, result: Result, score: Score) -> None:
        """What the attempt of ``options`` resulted in, and how good its picture is."""
        if self._candidate is None or self._first is None:
            self._first, self._untried = result, _others(result)
        painted = self._candidate or result.candidates[result.chosen]
        attempt = Attempt(
            seed=self._first.seed,
            candidate=painted.index,
            value=float(score.value),
            passed=bool(score.passed),
            unmet=tuple(score.unmet),
            met=tuple(score.met),
        )
        self._attempts.append(attempt)
        self._rows += result.map_rows
        for stage, seconds in result.timings.items():
            self._timings[stage] = self._timings.get(stage, 0.0) + seconds
        if self._best is None or _worth(attempt) > _worth(self._attempts[self._kept]):
            self._best = _among_others(result, self._first, self._factor, painted)
            self._kept = len(self._attempts) - 1
        is_last = attempt.passed or len(self._attempts) > self._repaint
        self.options = None if is_last else self._next(self._first)

    @property
    def result(self) -> Result:
        assert self._best is not None, "no attempt was taken"
        told = Repaint(self._attempts[self._kept].passed, self._kept, tuple(self._attempts))
        return replace(self._best, repaint=told, map_rows=self._rows, timings=self._timings)

    def _next(self, first: Result) -> dict[str, Any]:
        if not self._untried:
            self._candidate = None
            drawn = {key: value for key, value in self._given.items() if key not in _NOISE}
            return {**drawn, "seed": (first.seed + self._seed_step) % _SEEDS}
        self._candidate = self._untried.pop(0)
        return _from_map(self._given, first, self._factor, self._candidate)


def _worth(attempt: Attempt) -> tuple[bool, float]:
    return attempt.passed, attempt.value


def _listed(options: Mapping[str, Any]) -> dict[str, Any]:
    """A copy whose objects are a list: they are read here and by the engine, and nothing would be
    left of an iterator."""
    made = dict(options)
    if made.get("objects") is not None:
        made["objects"] = texts("objects", made["objects"])
    return made


def _required(engine: Engine, prompt: str, options: Mapping[str, Any], factor: str) -> Requirements:
    """What is asked for of the maps of `factor`, which has its own words and objects or those of
    all."""
    given = options.get("requirements")
    if isinstance(given, Reading):
        given = given.requirements
    if given is not None:
        requirements: Requirements = given
        return requirements
    factors = options.get("factors")
    own = factors.get(factor) if isinstance(factors, Mapping) else None
    own = own if isinstance(own, Mapping) else {}  # the engine says what is wrong with others
    objects = own.get("objects")
    if objects is None and "prompt" not in own:
        objects = options.get("objects")
    if objects is not None:
        return {"objects": objects}
    prompt = own.get("prompt", prompt)
    return engine.find_requirements(prompt, bool(options.get("articles_count"))).requirements


def _labels_factor(engine: Engine, options: Mapping[str, Any]) -> str:
    """The last factor that makes labels, whose candidates are the result's own."""
    given = options.get("factors")
    factors = given if isinstance(given, Mapping) else {}
    makers = [
        str(one["name"])
        for one in engine.manifest["factors"][:-1]
        if one.get("palette")
        and (
            factors[one["name"]] is not None
            if one["name"] in factors
            else one.get("optional") is not True
        )
    ]
    if not makers:
        raise RequestError("this request makes no labels, so there is no map to paint again from")
    return makers[-1]


def _others(result: Result) -> list[Candidate]:
    """The maps that weren't chosen, may be painted and hold no less than any, the best first, as
    the engine chooses. A picture can't show what its map lacks, so that a new seed is better than
    the rest."""
    usable = [one for one in result.candidates if not (one.pruned or one.failed or one.refused)]
    most = max((one.recall, one.compliance) for one in usable)
    chosen = result.candidates[result.chosen]
    best = [o for o in usable if o is not chosen and (o.recall, o.compliance) == most]
    return sorted(best, key=lambda one: -one.smallest_area)


def _among_others(result: Result, first: Result, name: str, painted: Candidate) -> Result:
    """A result whose map was given, as one of those that were sampled for the first."""
    if result is first:
        return result
    chosen = first.candidates.index(painted)
    factor = replace(first.factors[name], chosen=chosen)
    factors = {**result.factors, name: factor}
    return replace(result, candidates=first.candidates, chosen=chosen, factors=factors)


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
