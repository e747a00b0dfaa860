"""What a request returns: the painted image, the chosen maps, every candidate with its recall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from fgdm.errors import RequestError
from fgdm.factor_result import Candidate, FactorResult
from fgdm.painted import Kept, PaintedImage
from fgdm.requirements import Reading, Requirement
from PIL import Image

if TYPE_CHECKING:
    from fgdm import _core

Color = tuple[int, int, int]

#: Version of the JSON form; result.schema.json describes it.
RESULT_SCHEMA = 5


@dataclass(frozen=True)
class EngineInfo:
    """What made a result: versions, bundle, and the backend, precision and runtime in use."""

    version: str
    bundle: str
    backend: str
    precision: str
    runtime: str

    def to_json(self) -> dict[str, object]:
        """The fields by name."""
        return dict(vars(self))


@dataclass(frozen=True)
class Attempt:
    """A picture that was painted and scored (fgdm.repaint).

    seed, candidate: the map that it was painted from, as in Candidate. value, passed, unmet, met:
    what the scorer said of it.
    """

    seed: int
    candidate: int
    value: float
    passed: bool
    unmet: tuple[str, ...]
    met: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The fields by name."""
        return {**vars(self), "unmet": list(self.unmet), "met": list(self.met)}


@dataclass(frozen=True)
class Repaint:
    """What was tried until a picture passed. passed: whether the result's did. kept: which of the
    attempts, from 0, the result is of."""

    passed: bool
    kept: int
    attempts: tuple[Attempt, ...]

    def to_json(self) -> dict[str, object]:
        """The fields by name."""
        return {**vars(self), "attempts": [one.to_json() for one in self.attempts]}


@dataclass(frozen=True, eq=False)
class Result:
    """A finished request.

    image: RGB, (height, width) as asked. image_device, latents_device: of a request with
    keep_on_device, where the device left them; then image is a copy that is made when it is first
    read.
    factors: what became of each condition factor that wasn't left out, in the chain's order.
    candidates, chosen, map, labels, recall, found, missing, requested, excluded: of the last factor
    that makes labels; where none does, of the last condition factor. Where there was none at all,
    candidates is empty, chosen is -1, and map and labels raise RequestError.
    requested: the classes looked for. unrecognized: content words of the prompt that name no class
    of the palette, the first hundred; unrecognized_omitted: how many more there are.
    excluded: classes that the prompt names only as what shall not be there. These are empty
    when the request listed its objects.
    truncated, negative_truncated: the ends of the prompt and of the negative prompt that the text
    encoder doesn't read, as they are too long for it; "" if it reads all. unread: classes that are
    named only in `truncated`; they aren't requested.
    chosen: index into candidates. seed: the request's seed, drawn at random if none was given.
    map_rows: backbone rows that the maps took, of all attempts where pictures were scored.
    timings: seconds per stage, of batches its share: text_encoder, adapter, backbone, controlnet,
    hint, vae_decoder; queue (before work began), waiting (sessions that worked for others), core
    (everything outside the network sessions), total (without the queue); likewise of all attempts.
    parameters: every parameter as used, bundle defaults filled in.
    colors: the palette's RGB colour (0 to 255) of every class by name.
    requirements: what each map was checked against, of the prompt or of the request; a candidate's
    `met` has an entry for each. not_understood: what of the prompt's counts and relations was not
    read, word for word. met, compliance, unmet: of the chosen map. reading: by a language model, if
    the request was given one. repaint: what was tried, if pictures were scored (fgdm.repaint).
    watermark: the text that the image carries invisibly (fgdm.watermark); "" without one.
    """

    prompt: str
    factors: Mapping[str, FactorResult]
    requested: tuple[str, ...]
    excluded: tuple[str, ...]
    unread: tuple[str, ...]
    unrecognized: tuple[str, ...]
    unrecognized_omitted: int
    truncated: str
    negative_truncated: str
    chosen: int
    candidates: tuple[Candidate, ...]
    seed: int
    map_rows: int
    timings: Mapping[str, float]
    parameters: Mapping[str, object]
    engine: EngineInfo
    colors: Mapping[str, Color]
    # It has no default, whatever it looks like: a field that is a descriptor is written so.
    image: PaintedImage = PaintedImage()  # noqa: RUF009
    requirements: tuple[Requirement, ...] = ()
    not_understood: tuple[str, ...] = ()
    reading: Reading | None = None
    repaint: Repaint | None = None
    watermark: str = ""
    kept: Kept | None = None

    @classmethod
    def from_core(
        cls,
        core: _core.Result,
        prompt: str,
        engine: EngineInfo,
        colors: Mapping[str, Color],
        order: Sequence[str],
    ) -> Result:
        """Takes over the core's arrays as pictures. order: the names of the chain's factors."""
        factors = core.factors
        image, latents = core.image_on_device, core.latents_on_device
        kept = None if image is None or latents is None else Kept(image, latents)
        return cls(
            prompt=prompt,
            image=Image.fromarray(core.image) if kept is None else kept,
            kept=kept,
            factors={
                name: FactorResult.from_core(factors[name]) for name in order if name in factors
            },
            requested=tuple(core.requested),
            excluded=tuple(core.excluded),
            unread=tuple(core.unread),
            unrecognized=tuple(core.unrecognized),
            unrecognized_omitted=core.unrecognized_omitted,
            truncated=core.truncated,
            negative_truncated=core.negative_truncated,
            chosen=core.chosen,
            candidates=tuple(Candidate.from_core(candidate) for candidate in core.candidates),
            seed=core.seed,
            map_rows=core.map_rows,
            timings=dict(core.timings),
            parameters=core.parameters,
            engine=engine,
            colors=colors,
            requirements=tuple(Requirement(*one) for one in core.requirements),
            not_understood=tuple(core.not_understood),
        )

    @property
    def image_device(self) -> _core.DeviceArray:
        """The image where the device left it, uint8 (height, width, 3), for ``from_dlpack`` of any
        library. RequestError of a request without keep_on_device."""
        return self._on_device().image

    @property
    def latents_device(self) -> _core.DeviceArray:
        """Likewise the latents that the image was decoded from, float32 (1, C, h, w)."""
        return self._on_device().latents

    def _on_device(self) -> Kept:
        if self.kept is None:
            raise RequestError(
                "this request left nothing on the device; ask for it with keep_on_device=True"
            )
        return self.kept

    @property
    def map(self) -> Image.Image:
        """The chosen map, RGB."""
        return self._chosen().map

    @property
    def labels(self) -> npt.NDArray[np.uint8]:
        """The chosen map's class indices, uint8 (h, w)."""
        return self._chosen().labels

    @property
    def recall(self) -> float:
        """Found / requested classes of the chosen map; 1 where there was no map."""
        return self._chosen().recall if self.candidates else 1.0

    @property
    def found(self) -> tuple[str, ...]:
        """Classes that the chosen map holds."""
        return self._chosen().found if self.candidates else ()

    @property
    def missing(self) -> tuple[str, ...]:
        """Requested classes that it doesn't hold."""
        return self._chosen().missing if self.candidates else ()

    @property
    def met(self) -> tuple[bool | None, ...]:
        """Whether the chosen map meets each requirement; None where a map can't say."""
        return self._chosen().met if self.candidates else ()

    @property
    def compliance(self) -> float:
        """Met / checked requirements of the chosen map; 1 where there was no map."""
        return self._chosen().compliance if self.candidates else 1.0

    @property
    def unmet(self) -> tuple[str, ...]:
        """The requirements that the chosen map doesn't meet, in words."""
        pairs = zip(self.requirements, self.met, strict=False)
        return tuple(one.text for one, met in pairs if met is False)

    def _chosen(self) -> Candidate:
        if not self.candidates:
            raise RequestError(
                "this request made no map: its bundle, or what was left out, has none"
            )
        return self.candidates[self.chosen]

    def to_json(self) -> dict[str, object]:
        """The JSON form, without pixels: ready for ``json.dumps``, valid by result.schema.json."""
        width, height = self.image.size if self.kept is None else self.kept.size
        return {
            "schema": RESULT_SCHEMA,
            "prompt": self.prompt,
            "requested": list(self.requested),
            "excluded": list(self.excluded),
            "unread": list(self.unread),
            "unrecognized": list(self.unrecognized),
            "unrecognized_omitted": self.unrecognized_omitted,
            "truncated": self.truncated,
            "negative_truncated": self.negative_truncated,
            "recall": self.recall,
            "found": list(self.found),
            "missing": list(self.missing),
            "requirements": [one.to_json() for one in self.requirements],
            "not_understood": list(self.not_understood),
            "met": list(self.met),
            "compliance": self.compliance,
            "chosen": self.chosen,
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "seed": self.seed,
            "map_rows": self.map_rows,
            "image": {"width": width, "height": height},
            "map": {"width": self.map.width, "height": self.map.height}
            if self.candidates
            else None,
            "factors": {name: factor.to_json() for name, factor in self.factors.items()},
            "timings": dict(self.timings),
            "parameters": {name: _plain(value) for name, value in self.parameters.items()},
            "engine": self.engine.to_json(),
            **({"reading": self.reading.to_json()} if self.reading else {}),
            **({"repaint": self.repaint.to_json()} if self.repaint else {}),
            **({"watermark": self.watermark} if self.watermark else {}),
        }


def _plain(value: object) -> object:
    """A parameter in JSON's types. Of an array only shape and dtype are told: pixels stay out."""
    if isinstance(value, np.ndarray):
        return {"shape": list(value.shape), "dtype": str(value.dtype)}
    if isinstance(value, np.generic):
        plain: object = value.item()
        return plain
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value
