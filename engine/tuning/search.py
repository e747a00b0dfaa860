"""The stages of a search: maps, the image, its cache, waves, and then what was chosen together."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fgdm import _core
from fgdm.errors import BackendError, RequestError
from fgdm.statistics import psnr

from . import settings
from .prompts import Prompt
from .race import FEWEST, Bound, Judged, Setting, cheapest, race

if TYPE_CHECKING:
    from fgdm.engine import Engine
    from fgdm.result import Result
    from PIL import Image

#: How much of the requested classes a picture holds, 0 to 1: (picture, classes) -> recall.
Judge = Callable[["Image.Image", Sequence[str]], float]
#: Called with a stage, how many of its runs are done, and how many there will be.
Watch = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Stage:
    """Settings that were compared, and the one that was chosen; measure: what quality is."""

    name: str
    measure: str
    bound: Bound
    judged: list[Judged]
    chosen: Judged

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "measure": self.measure,
            "bound": {"kind": self.bound.kind, "value": self.bound.value},
            "settings": [entry.to_json() for entry in self.judged],
            "chosen": self.chosen.row.setting.name,
        }


@dataclass(frozen=True)
class Tuning:
    """What a search found.

    stages: in their order. together: the careful settings, the bundle's own defaults and the chosen
    ones, each as a whole request; chosen is the last of them. fields: by factor, what the manifest
    would say. notes: what was left out, and why. prompts: those that were measured. clock: whose
    seconds they are.
    """

    stages: list[Stage]
    together: Stage
    fields: Mapping[str, Mapping[str, Any]]
    notes: list[str]
    prompts: int
    clock: str

    @property
    def is_kept(self) -> bool:
        """Whether the chosen settings keep the bound as a whole, too."""
        return self.together.chosen.verdict == "passes"

    def to_json(self) -> dict[str, Any]:
        return {
            "prompts": self.prompts,
            "clock": self.clock,
            "stages": [stage.to_json() for stage in self.stages],
            "together": self.together.to_json(),
            "defaults": {name: dict(fields) for name, fields in self.fields.items()},
            "keeps_bound": self.is_kept,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Asked:
    """A prompt with its number, which is its seed, and the classes that it asks for."""

    number: int
    prompt: Prompt
    requested: tuple[str, ...]

    @property
    def options(self) -> dict[str, Any]:
        """Of its requests."""
        return {} if self.prompt.objects is None else {"objects": list(self.prompt.objects)}


@dataclass
class Search:
    """One search over an open engine, whose only user it should be: it measures time.

    candidates: maps of a prompt. loss: of recall, at most. least_psnr: in dB, of pictures to those
    of the careful setting, where there is no judge. The i-th prompt has the seed i.
    """

    engine: Engine
    prompts: Sequence[Prompt]
    candidates: int = 5
    loss: float = 0.02
    least_psnr: float = 25.0
    judge: Judge | None = None
    watch: Watch = lambda stage, done, total: None
    _asked: list[Asked] = field(default_factory=list)
    _notes: list[str] = field(default_factory=list)
    _maps: dict[int, dict[str, Any]] = field(default_factory=dict)
    _pictures: dict[tuple[str, int], Image.Image] = field(default_factory=dict)

    def run(self) -> Tuning:
        """Measures all stages. Raises RequestError, before anything is measured, for a prompt that
        the engine refuses, for too few of them, and for a judge that can't judge."""
        manifest = self.engine.manifest
        labels, image = settings.label_factor(manifest), settings.image_factor(manifest)
        self._asked = self._read_prompts(labels is not None)
        self._try()
        stages = []
        fields: dict[str, dict[str, Any]] = {}
        careful: dict[str, Any] = {"cache_interval": 1}
        chosen: dict[str, Any] = {}
        if labels is None:
            self._note("the bundle samples no map whose recall could be measured: maps are left")
        else:
            maps = self._maps_stage(labels)
            stages.append(maps)
            fields[labels["name"]] = dict(maps.chosen.row.setting.fields)
            careful = settings.merged(
                careful, maps.judged[0].row.setting.options, _finished(labels)
            )
            chosen = settings.merged(chosen, maps.chosen.row.setting.options)
        stages += self._image_stages(image)
        careful = settings.merged(careful, stages[-1].judged[0].row.setting.options)
        painted = stages[-1].chosen.row.setting
        chosen = settings.merged(chosen, {"cache_interval": 1, **painted.options})
        fields[image["name"]] = {"cache_interval": 1, "cache_level": 1, **painted.fields}
        if labels is not None and not labels.get("stop_at_recall"):
            self._note("the bundle has no stop_at_recall, so it finishes all maps: no waves")
        elif labels is not None and self.candidates > 1:
            waves = self._waves_stage(labels, maps.chosen.row.setting)
            stages.append(waves)
            fields[labels["name"]] |= waves.chosen.row.setting.fields
            chosen = settings.merged(chosen, waves.chosen.row.setting.options)
        whole = [
            Setting("careful", careful, {}),
            Setting("the bundle's defaults", {}, {}),
            Setting("chosen", chosen, fields),
        ]
        together = self._together(whole, labels)
        return Tuning(stages, together, fields, self._notes, len(self._asked), self._clock[0])

    def _note(self, text: str) -> None:
        self._notes.append(text)

    def _read_prompts(self, by_recall: bool) -> list[Asked]:
        """The prompts, each taken by the engine. by_recall: only those of which recall says
        something; of a picture that is asked for nothing every setting has full recall."""
        asked = [self._read(i, prompt) for i, prompt in enumerate(self.prompts)]
        kept = [entry for entry in asked if entry.requested or not by_recall]
        left = len(asked) - len(kept)
        if left:
            self._note(
                f"{left} of {len(asked)} prompts name no class that the bundle's maps have, so "
                "that recall says nothing of them: they are left out"
            )
        if len(kept) < FEWEST:
            named = "that name a class of the bundle's maps " if left else ""
            raise RequestError(
                f"there are {len(kept)} prompts {named}to compare settings on, expected "
                f"{FEWEST} or more; give more, or a smaller --every"
            )
        return kept

    def _read(self, number: int, prompt: Prompt) -> Asked:
        """What the engine would refuse in the middle of a search is refused here."""
        asked = Asked(number, prompt, ())
        try:
            job = self.engine.submit(
                prompt.text, candidates=self.candidates, seed=number, **asked.options
            )
            job.cancel()
            job.wait()
            if prompt.objects is not None:
                return Asked(number, prompt, prompt.objects)
            if settings.label_factor(self.engine.manifest) is None:
                return asked
            return Asked(number, prompt, tuple(self.engine.find_objects(prompt.text).requested))
        except RequestError as error:
            raise RequestError(f"prompt {number + 1}, {prompt.text!r:.80}: {error}") from None

    def _try(self) -> None:
        """A whole request, which isn't measured: what is loaded or compiled at first use is, then,
        and the judge has seen a picture."""
        result, _ = self._timed(self._asked[0])
        if self.judge is not None:
            self._judged(result, self._asked[0])

    def _maps_stage(self, factor: Mapping[str, Any]) -> Stage:
        tried = settings.map_settings(factor, self.engine.manifest["scheduler"], self._is_sound)

        def run(prompt: int, setting: Setting) -> tuple[float, float]:
            asked = self._asked[prompt]
            result, seconds = self._timed(asked, _BARE, setting.options, _finished(factor))
            if setting is tried[0]:
                self._maps[prompt] = {
                    name: {"map": made.labels if made.labels.size else made.map}
                    for name, made in result.factors.items()
                }
            return result.recall, seconds

        measure = f"recall of the best of {self.candidates} maps"
        return self._stage("maps", measure, self._by_recall(), tried, run)

    def _image_stages(self, image: Mapping[str, Any]) -> list[Stage]:
        manifest = self.engine.manifest
        tried = settings.image_settings(image, manifest["scheduler"], self._is_sound)

        def run(prompt: int, setting: Setting) -> tuple[float, float]:
            given = {"cache_interval": 1, "factors": self._maps.get(prompt, {})}
            result, seconds = self._timed(self._asked[prompt], given, setting.options)
            return self._picture_quality("image", prompt, result, setting is tried[0]), seconds

        sampling = self._stage("image", self._picture_measure, self._of_pictures, tried, run)
        cached = settings.cache_settings(tried[0], sampling.chosen.row.setting, manifest)
        if len(cached) == 2:
            return [sampling]
        if cached[0] is cached[1]:
            del cached[0]
        caching = self._stage("cache", self._picture_measure, self._of_pictures, cached, run)
        return [sampling, caching]

    def _waves_stage(self, factor: Mapping[str, Any], maps: Setting) -> Stage:
        tried = settings.wave_settings(factor, maps, self.candidates)

        def run(prompt: int, setting: Setting) -> tuple[float, float]:
            result, seconds = self._timed(self._asked[prompt], _BARE, setting.options)
            return result.recall, seconds

        measure = "recall of the map that is kept"
        return self._stage("waves", measure, self._by_recall(), tried, run)

    def _together(self, whole: Sequence[Setting], labels: Mapping[str, Any] | None) -> Stage:
        by_map = self.judge is None and labels is not None

        def run(prompt: int, setting: Setting) -> tuple[float, float]:
            result, seconds = self._timed(self._asked[prompt], setting.options)
            if by_map:
                return result.recall, seconds
            first = setting is whole[0]
            return self._picture_quality("together", prompt, result, first), seconds

        measure = "recall of the map that is kept" if by_map else self._picture_measure
        bound = self._by_recall() if by_map else self._of_pictures
        stage = self._stage("together", measure, bound, whole, run)
        if stage.judged[-1].row.setting is not whole[-1]:
            raise BackendError(f"what was chosen can't be painted, {self._notes[-1]}")
        return Stage(stage.name, stage.measure, stage.bound, stage.judged, stage.judged[-1])

    def _stage(
        self,
        name: str,
        measure: str,
        bound: Bound,
        tried: Sequence[Setting],
        run: Callable[[int, Setting], tuple[float, float]],
    ) -> Stage:
        judged, failures = race(
            tried, len(self._asked), bound, run, lambda done, total: self.watch(name, done, total)
        )
        self._notes += [f"{name}: {failure}" for failure in failures]
        qualities = judged[0].row.qualities
        if not bound.can_be_broken(qualities):
            self._note(
                f"{name}: the careful setting finds {sum(qualities) / len(qualities):.3f} of what "
                f"is asked for, no more than the {bound.value:g} that may be lost: no setting "
                "could be worse, so none passes"
            )
        return Stage(name, measure, bound, judged, cheapest(judged))

    def _timed(self, asked: Asked, *options: Mapping[str, Any]) -> tuple[Result, float]:
        """The prompt's result and the seconds that it took."""
        _, clock = self._clock
        began = clock()
        result = self.engine.generate(
            asked.prompt.text,
            candidates=self.candidates,
            seed=asked.number,
            **settings.merged(asked.options, *options),
        )
        return result, clock() - began

    @property
    def _clock(self) -> tuple[str, Callable[[], float]]:
        """Processor time, which other programs disturb less, tells nothing of what a GPU does."""
        if self.engine.info.backend in ("cuda", "tensorrt"):
            return "wall", time.perf_counter
        return "processor", time.process_time

    def _picture_quality(self, stage: str, prompt: int, result: Result, careful: bool) -> float:
        if self.judge is not None:
            return self._judged(result, self._asked[prompt])
        if careful:
            self._pictures[stage, prompt] = result.image
        return psnr(result.image, self._pictures[stage, prompt])

    def _judged(self, result: Result, asked: Asked) -> float:
        assert self.judge is not None
        try:
            answer = self.judge(result.image, asked.requested)
        except Exception as error:
            raise RequestError(
                f"the judge raised {type(error).__name__}: {error} (of a picture for "
                f"{asked.prompt.text!r:.80}, requested: {', '.join(asked.requested)})"
            ) from error
        try:
            recall = float(answer)
        except (TypeError, ValueError):
            recall = math.nan
        if not 0 <= recall <= 1:
            raise RequestError(f"the judge gave {answer!r:.80}; expected a recall, 0 to 1")
        return recall

    @property
    def _picture_measure(self) -> str:
        if self.judge is not None:
            return "recall of the picture, by the judge"
        return "PSNR of the picture to the careful setting's, in dB"

    def _by_recall(self) -> Bound:
        return Bound("loss", self.loss)

    @property
    def _of_pictures(self) -> Bound:
        return self._by_recall() if self.judge else Bound("least", self.least_psnr)

    def _is_sound(self, sampler: str, steps: int, spacing: str) -> bool:
        schedule = _core.NoiseSchedule(json.dumps(self.engine.manifest))
        try:
            schedule.timesteps(sampler, steps, spacing)
        except RequestError:
            return False
        return not schedule.known_weakness(sampler, steps, spacing)


def _finished(factor: Mapping[str, Any]) -> dict[str, Any]:
    """Options with which every map of a factor is sampled to its end."""
    return settings.of_factor(factor, {"stop_at_recall": 0.0})


#: Of requests whose maps are looked at: as little of the image as there can be.
_BARE: Mapping[str, Any] = {"num_inference_steps": 1, "guidance": "cfg", "cache_interval": 1}
