"""From indices to samples, many requests in flight on one engine."""

from __future__ import annotations

import hashlib
import queue
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import fgdm
from fgdm.engine import Engine
from fgdm.errors import BackendError, RequestError
from fgdm.file_tree import open_tree, read_object
from fgdm.job import Job
from fgdm.manifest import read_checked
from fgdm.picture_files import png
from fgdm.result import Result
from PIL import Image

from .agreement import ious, load_segmenter
from .recipe import Recipe
from .sample import IMAGE, Made, pictures_of, record_of
from .sources import derived_seed

Json = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """What another process or machine needs to make the same samples.

    bundle: its folder. engine: keyword arguments of ``fgdm.Engine``.
    """

    recipe: Recipe
    bundle: str
    engine: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def open(self) -> Iterator[Maker]:
        """Opens an engine. Raises what ``fgdm.Engine`` raises, and RequestError for a recipe that
        doesn't suit the bundle."""
        with fgdm.Engine(self.bundle, **self.engine) as engine:
            yield Maker(engine, self.recipe, self.bundle)


@dataclass
class _Try:
    """A request for a sample that is at work. past: what was wrong with those before it."""

    index: int
    attempt: int
    seed: int
    past: list[Json]
    job: Job | None = None


class Maker:
    """Makes a recipe's samples on an engine; several threads may, each its own.

    bundle: the engine's. Raises RequestError for a recipe that doesn't suit it.
    """

    def __init__(self, engine: Engine, recipe: Recipe, bundle: str) -> None:
        self._engine, self._recipe, self._bundle = engine, recipe, Path(bundle)
        factors = [one for one in engine.manifest["factors"] if one["kind"] == "condition"]
        self._outputs = {one["name"]: one.get("output", "labels") for one in factors}
        self._palettes = {
            one["name"]: self._palette(one["palette"]) for one in factors if one.get("palette")
        }
        unknown = [name for name in recipe.optional if name not in self._outputs]
        if unknown:
            raise RequestError(
                f"the bundle has no factor {unknown[0]!r}; it has {', '.join(self._outputs)}"
            )
        if any(vars(recipe.accepted).values()) and not self._palettes:
            raise RequestError("this bundle makes no labels, so nothing can be asked of its maps")
        self._judged = next(reversed(self._palettes), "")
        self._segment = load_segmenter(recipe.segmenter) if recipe.segmenter else None
        self._request = recipe.request()

    @property
    def engine(self) -> Engine:
        """What it works on."""
        return self._engine

    @property
    def pictures(self) -> list[str]:
        """The image, and the factors that may make a map, in the chain's order."""
        return [IMAGE, *self._outputs]

    def identity(self) -> Json:
        """What all samples of a data set share: plain JSON."""
        manifest = hashlib.sha256(read_checked(self._bundle)).hexdigest()
        return {
            "recipe": self._recipe.identity(),
            "bundle": {"name": self._engine.info.bundle, "manifest_sha256": manifest},
            "engine": self._engine.info.to_json(),
            "factors": {
                name: {"output": output, "palette": self._palettes.get(name)}
                for name, output in self._outputs.items()
            },
        }

    def make(self, indices: Iterable[int], in_flight: int = 24) -> Iterator[Made]:
        """The samples of the indices, in the order in which they end.

        in_flight: requests that the engine has at a time. Whoever leaves the loop, also by Ctrl-C,
        cancels them.

        Raises what ends a request: a RequestError for options that the engine refuses, or what
        failed, with the sample's index.
        """
        if in_flight < 1:
            raise RequestError(f"in_flight is {in_flight}, expected 1 or more")
        left = iter(indices)
        working: dict[int, _Try] = {}
        ended: queue.SimpleQueue[_Try] = queue.SimpleQueue()

        def start(one: _Try) -> None:
            working[one.index] = one
            one.job = self._submit(one)
            one.job.when_done(partial(ended.put, one))

        def fill() -> None:
            while len(working) < in_flight and (index := next(left, None)) is not None:
                start(self._attempt(index, 0, []))

        try:
            fill()
            while working:
                one = ended.get()
                del working[one.index]
                fill()  # the engine works on while this thread is busy
                outcome = self._judge(one)
                if isinstance(outcome, Made):
                    yield outcome
                else:
                    start(outcome)
        finally:
            jobs = [one.job for one in working.values() if one.job is not None]
            for job in jobs:
                job.cancel()
            for job in jobs:
                job.wait()

    def _attempt(self, index: int, attempt: int, past: list[Json]) -> _Try:
        return _Try(index, attempt, derived_seed("image", self._recipe.seed, index, attempt), past)

    def _submit(self, one: _Try) -> Job:
        prompt = self._recipe.source.prompt(self._recipe.seed, one.index)
        options = dict(self._request)
        if prompt.objects is not None:
            options["objects"] = list(prompt.objects)
        try:
            return self._engine.submit(prompt.text, seed=one.seed, **options)
        except TypeError as error:  # an option that doesn't exist
            raise RequestError(str(error)) from None

    def _judge(self, one: _Try) -> Made | _Try:
        """The sample, or the next attempt, or a rejected one where there is none."""
        prompt = self._recipe.source.prompt(self._recipe.seed, one.index).text
        result = self._result_of(one)
        if isinstance(result, str):
            wrong: Json = {"seed": one.seed, "reasons": [result]}
        else:
            pictures = pictures_of(result, self._palettes)
            agreement = self._agreement(result, pictures["image"])
            measured = {"recall": result.recall, "compliance": result.compliance}
            if agreement is not None:
                measured["agreement"] = agreement["mean"]
            wanted = vars(self._recipe.accepted)
            reasons = [name for name, value in measured.items() if value < wanted[name]]
            if not reasons:
                record = record_of(one.index, result, self._outputs, self._palettes)
                record |= {"agreement": agreement, "rejected": one.past}
                return Made(one.index, record, {k: png(v) for k, v in pictures.items()})
            wrong = {"seed": one.seed, "reasons": reasons, **measured}
        past = [*one.past, wrong]
        if one.attempt + 1 < self._recipe.attempts:
            return self._attempt(one.index, one.attempt + 1, past)
        return Made(one.index, {"index": one.index, "prompt": prompt, "rejected": past}, {})

    def _result_of(self, one: _Try) -> Result | str:
        """What came of a request; "refused" where every map holds what must not be painted."""
        assert one.job is not None
        try:
            return one.job.result()
        except RequestError:
            if not self._recipe.options.get("forbid"):
                raise
            return "refused"
        except BackendError as error:
            raise BackendError(f"sample {one.index}, seed {one.seed}: {error}") from error

    def _agreement(self, result: Result, image: Image.Image) -> Json | None:
        """The mean and, by class, the intersections over unions of map and picture."""
        if self._segment is None or self._judged not in result.factors:
            return None
        found = ious(result.factors[self._judged].labels, self._segment(image))
        classes = self._palettes[self._judged]["classes"]
        names = {entry["index"]: entry["name"] for entry in classes}
        unknown = [label for label in found if label not in names]
        if unknown:
            raise RequestError(
                f"the segmenter sees class {unknown[0]}, the palette has 0 to {max(names)}"
            )
        return {
            "mean": round(sum(found.values()) / len(found), 6) if found else 1.0,
            "classes": {names[label]: round(iou, 6) for label, iou in found.items()},
        }

    def _palette(self, file: str) -> Json:
        return read_object(open_tree(self._bundle), file)
