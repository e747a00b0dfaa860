"""Makes what a run lacks: prompts under settings, by an engine here or by several elsewhere."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import fgdm
from fgdm.errors import BackendError
from fgdm.picture_files import png
from PIL import Image

from .dataset.sample import Made
from .plan import Plan
from .run_folder import PICTURE, RunFolder, labels_file, map_file

if TYPE_CHECKING:
    from fgdm.engine import Engine
    from fgdm.job import Job
    from fgdm.result import Result

#: Called with how many of the missing pictures are made, and how many were missing.
Watch = Callable[[int, int], None]


@dataclass(frozen=True)
class Part:
    """Which of a run's prompts a process makes: the k-th of every n, k from 1 on."""

    k: int = 1
    n: int = 1

    def has(self, index: int) -> bool:
        """Whether the prompt of this number is in the part."""
        return index % self.n == self.k - 1


class Outcome(NamedTuple):
    """How many pictures were made; seconds, and the processor's, that all engines worked."""

    pictures: int
    seconds: float
    processor: float


@dataclass(frozen=True)
class Setup:
    """What another process or machine needs to make pictures of a run.

    bundle: its folder. engine: keyword arguments of ``fgdm.Engine``.
    """

    bundle: str
    engine: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def open(self) -> Iterator[PictureMaker]:
        """Opens an engine. Raises what ``fgdm.Engine`` raises."""
        with fgdm.Engine(self.bundle, **self.engine) as engine:
            yield PictureMaker(engine)


class PictureMaker:
    """Makes rounds of pictures on an engine: prompts of one setting that are in flight together.

    Rounds follow each other, whoever asks: pictures of two of them would share their time.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._one_round = threading.Lock()
        self._is_warm = False

    @property
    def pictures(self) -> list[str]:
        """Ends of the names of all files that a sample may have."""
        factors = [
            one["name"] for one in self._engine.manifest["factors"] if one["kind"] == "condition"
        ]
        return [PICTURE, *(end(name) for name in factors for end in (map_file, labels_file))]

    def identity(self) -> dict[str, Any]:
        """What `Plan.of` needs."""
        engine = self._engine
        return {
            "manifest": engine.manifest,
            "engine": engine.info.to_json(),
            "palette": engine.palette,
            "classes": list(engine.classes),
        }

    def make(self, tasks: Iterable[str], in_flight: int = 0) -> Iterator[Made]:
        """The pictures of rounds, each a task as `rounds` writes it, which says itself what is in
        flight. A sample's record: setting, seconds a picture, worked and processor (of the engine,
        with what the first round takes to get going) and the result. Ctrl-C cancels what is at
        work."""
        for task in tasks:
            said = json.loads(task)
            with self._one_round:
                began, processor = time.perf_counter(), time.process_time()
                if not self._is_warm:  # the first is slow and isn't kept
                    self._results(said["options"], said["prompts"][:1])
                    self._is_warm = True
                warm = time.perf_counter()
                results = self._results(said["options"], said["prompts"])
                ended = time.perf_counter()
                processor = time.process_time() - processor
            count = len(results)
            for prompt, result in zip(said["prompts"], results, strict=True):
                record = {
                    "setting": said["setting"],
                    "seconds": (ended - warm) / count,
                    "worked": (ended - began) / count,
                    "processor": processor / count,
                    "result": result.to_json(),
                }
                yield Made(prompt["index"], record, _files(result))

    def _results(
        self, options: Mapping[str, Any], prompts: Sequence[Mapping[str, Any]]
    ) -> list[Result]:
        """What the engine makes of these prompts, all at once."""
        jobs: list[Job] = []
        try:
            for one in prompts:
                objects = None if one["objects"] is None else tuple(one["objects"])
                jobs.append(
                    self._engine.submit(one["text"], objects=objects, seed=one["seed"], **options)
                )
            return [job.result() for job in jobs]
        except BaseException:
            for job in jobs:
                job.cancel()
            for job in jobs:
                job.wait()
            raise


def make_missing(
    make: Callable[[Sequence[str], int], Iterator[Made]],
    run: RunFolder,
    *,
    in_flight: int = 1,
    part: Part = Part(),
    watch: Watch = lambda done, total: None,
) -> Outcome:
    """Has made, and writes, what the run lacks of a part.

    make: of a maker or a crew. Of `in_flight` prompts at a time all settings are made before the
    next prompts begin, so that a slow moment of the machine meets all of them; which setting is
    first turns from one such round to the next. Requests that are in flight together share the
    engine's batches. What a round of one setting made is written at once: whoever is stopped loses
    at most `in_flight` pictures of each engine.

    Raises BackendError for engines that aren't of one kind.
    """
    missing = list(rounds(run, in_flight, part))
    if not missing:
        return Outcome(0, 0.0, 0.0)
    total = sum(len(json.loads(one)["prompts"]) for one in missing)
    settings = {setting.name: setting for setting in run.plan.settings}
    worked = processor = 0.0
    watch(0, total)
    for done, sample in enumerate(make(missing, in_flight), start=1):
        by = sample.record["result"]["engine"]
        if by != run.plan.engine:
            raise BackendError(
                f"prompt {sample.index} was made by {by}, others by {run.plan.engine}; let all "
                "workers have one runtime and precision"
            )
        run.add(settings[sample.record["setting"]], sample)
        worked += sample.record["worked"]
        processor += sample.record["processor"]
        watch(done, total)
    return Outcome(total, worked, processor)


def rounds(run: RunFolder, in_flight: int, part: Part) -> Iterator[str]:
    """What is missing: settings with the prompts that are made together, each as JSON."""
    plan: Plan = run.plan
    own = [index for index in range(len(plan.prompts)) if part.has(index)]
    settings = list(plan.settings)
    for number, start in enumerate(range(0, len(own), in_flight)):
        turn = number % len(settings)
        for setting in settings[turn:] + settings[:turn]:
            missing = [i for i in own[start : start + in_flight] if not run.has(setting, i)]
            if missing:
                prompts = [
                    {
                        "index": i,
                        "text": plan.prompts[i].text,
                        "objects": plan.prompts[i].objects,
                        "seed": plan.seed + i,
                    }
                    for i in missing
                ]
                task = {"setting": setting.name, "options": setting.options, "prompts": prompts}
                yield json.dumps(task)


def _files(result: Result) -> dict[str, bytes]:
    """PNG files by the ends of their names."""
    files = {PICTURE: png(result.image, 1)}  # read soon, and seldom kept: quick rather than small
    for name, factor in result.factors.items():
        files[map_file(name)] = png(factor.map, 1)
        if factor.labels.size:
            files[labels_file(name)] = png(Image.fromarray(factor.labels), 1)
    return files
