"""Edits by inversion over HTTP (docs/editing.md): what a request says of one, and its stages."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from fgdm.inversion import Edit, edits_to_core
from fgdm.paste import check_seam
from fgdm.request import checked
from fgdm.requirements import flag
from fgdm.values import required_integer, required_real
from fgdm.ways import WAYS, Stage, stages_of_ways
from PIL import Image

from . import pictures
from .editing_schema import STEPS
from .errors import wrong
from .models import Model
from .requests import (
    ImageRequest,
    Task,
    as_mask,
    limit_entries,
    read_edit,
    read_task,
    take_files,
    with_extra,
)
from .settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from fgdm.result import Result

    #: Of a body: what it brings is decoded, or an array of labels.
    Picture = Image.Image | npt.NDArray[np.uint8]

#: Of a request, beside the engine's options. Every name is that of Engine.invert, Engine.edit, or
#: fgdm.ways.edit_in_ways.
FIELDS = ("edits", "way", "inversion", "factor", "keep", "seam")
#: Of `inversion`: options of Engine.invert that a request for a picture hasn't, or has otherwise.
_OF_INVERSION = (
    *("steps", "skip", "sampler", "eta", "timestep_spacing"),
    *("prompt", "negative_prompt", "guidance_scale"),
)
#: Options of the request that the inversion shares.
_SHARED = (
    *("height", "width", "factors", "control_images", "controlnet_conditioning_scale"),
    *("priority", "deadline"),
)
_STRENGTH = 0.6
#: Options that say how an image is sampled, which of one that is edited its inversion does.
_SAMPLING = (
    *("num_inference_steps", "sampler", "timestep_spacing", "cache_interval", "cache_level"),
    *("guidance", "guidance_scale"),
    *("segfree_scale", "segfree_guidance_scale", "segfree_start"),
)


@dataclass(frozen=True)
class Editing:
    """What is edited, and how.

    edits: with masks of the size of what is inverted. factor: whose picture that is. way: of WAYS,
    for the edit of a map; None edits the picture itself. picture, map: None where there is none.
    inverting: options of Engine.invert that `_OF_INVERSION` names. keep, seam, strength: as
    `edit_in_ways` has them.
    """

    edits: tuple[Edit, ...]
    factor: str
    way: str | None
    picture: Picture | None
    map: Picture | None
    inverting: Mapping[str, Any]
    keep: bool = True
    seam: int | None = None
    strength: float = _STRENGTH

    @property
    def painting(self) -> str:
        """The stage whose image is the answer."""
        return {"pixel": "picture edit", "paste": "paste"}.get(self.way or "", "edit")

    def stages(self, task: Task, seed: int) -> Generator[Stage, Any, Result]:
        """The jobs of one picture: yields each, is sent what it resulted in, and returns the
        answer. Raises what the engine's methods raise."""
        engine, options = task.model.engine, task.options
        shared = {name: options[name] for name in _SHARED if name in options}
        source = {"image": self.picture} if self.way is None else {"map": self.map}
        inverting = {
            **{**shared, **self.inverting, **source},
            **{"factor": self.factor, "seed": seed, "edits": self.edits},
        }
        inversion = yield Stage("inversion", partial(engine.submit_inversion, **inverting))
        editing: dict[str, Any] = {**options, "seed": seed, "keep": self.keep}
        if self.way is None:
            edited: Result = yield Stage(
                "edit",
                partial(engine.submit_edit, inversion, self.edits, task.prompt, **editing),
            )
            return edited
        results = yield from stages_of_ways(
            engine,
            inversion,
            self.edits,
            task.prompt,
            image=None if self.way == "mask" else self.picture,
            ways=[self.way],
            seam=self.seam,
            strength=self.strength,
            **editing,
        )
        return results[self.way]

    def without_pictures(self) -> Editing:
        """The same without what it begins with, which may be large."""
        return replace(self, edits=(), picture=None, map=None)


def read_job(request: ImageRequest, model: Model, settings: Settings) -> Task:
    """Of a job's JSON body: an edit by inversion where it has ``edits``, with ``image`` and
    ``mask`` in base64; else a picture. Raises ApiError (400)."""
    if (request.model_extra or {}).get("edits") is None:
        return read_task(request, model, settings)
    request, files = take_files(request)
    return read_editing(request, files, model, settings)


def read_editing(
    request: ImageRequest, files: Mapping[str, list[bytes]], model: Model, settings: Settings
) -> Task:
    """A picture, or a map, or both, and the edits of them; see `editing_schema.SCHEMA`.

    files: ``image``, ``mask``, and the factor's ``map`` or ``labels``, at most one of each. Raises
    ApiError (400) for what the service doesn't allow, and RequestError for what no edit can have;
    the engine checks the rest.
    """
    for name, given in files.items():
        if len(given) > 1:
            raise wrong(name, f"{len(given)} files came as {name}; expected one")
    if request.repaint is not None:
        raise wrong(
            "repaint", "repaint is for pictures of a prompt, and here are edits; leave it out"
        )
    extra = dict(request.model_extra or {})
    said = {name: extra.pop(name, None) for name in FIELDS}
    limit_entries({name: value for name, value in said.items() if value is not None})
    factor = _factor(said["factor"], model)
    way = _way(said["way"])
    given_map, extra["factors"] = _take_map(extra.get("factors"), files, factor, model, settings)
    if "image" not in files:
        way = way or "mask"
        request = _of_the_maps_size(request, given_map, factor, model)
    reads_map = (
        way is not None and given_map is None and "image" in files and model.engine.has_segmenter
    )
    _check_sources(way, "image" in files, given_map is not None or reads_map)
    task = _read(with_extra(request, extra), files, model, settings)
    options = dict(task.options)
    if way is None and given_map is not None:  # what the picture is inverted and edited with
        options["factors"] = _with_map(options.get("factors", {}), factor, given_map)
    picture, mask = options.pop("image", None), options.pop("mask", None)
    _check_sampling(options, way)
    if reads_map:
        given_map = model.engine.segment(picture)
    if way is None:
        edited, size = str(model.engine.manifest["factors"][-1]["name"]), task.pixels
    else:
        edited, size = factor, _map_size(factor, model, task.pixels)
    edits = _edits(said["edits"], mask, size, task.pixels, settings)
    edits_to_core(edits)  # what is of the wrong type is told before work begins
    editing = Editing(
        edits=tuple(edits),
        factor=edited,
        way=way,
        picture=picture,
        map=None if way is None else given_map,
        inverting=_inverting(said["inversion"], settings),
        keep=True if said["keep"] is None else flag("keep", said["keep"]),
        seam=None if said["seam"] is None else required_integer("seam", said["seam"]),
        strength=_strength(options.pop("strength", None), way),
    )
    check_seam(editing.seam, editing.strength)
    return replace(task, options=options, editing=editing, kind="image_edit")


def _read(
    request: ImageRequest, files: Mapping[str, list[bytes]], model: Model, settings: Settings
) -> Task:
    """All that edits by inversion share with other requests."""
    if "image" in files:
        return read_edit(request, files, model, settings)
    task = read_task(request, model, settings)
    if "mask" in files:
        mask = as_mask(pictures.decode(files["mask"][0], "mask"), task.pixels)
        task = replace(task, options={**task.options, "mask": mask})
    return task


def _check_sampling(options: Mapping[str, Any], way: str | None) -> None:
    """What the engine would say of them after the inversion."""
    checked(options)
    found = [name for name in _SAMPLING if name in options]
    if way is None and found:
        raise wrong(
            found[0],
            f"{found[0]} is set, but the inversion says how this factor is sampled; leave it out",
        )


def _strength(asked: object, way: str | None) -> float:
    if asked is not None and way != "paste":
        raise wrong("strength", "strength is of the seam that way paste paints; leave it out")
    return _STRENGTH if asked is None else required_real("strength", asked)


def _way(given: object) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str) or given not in WAYS:
        raise wrong("way", f"way is {given!r:.40}; expected one of {', '.join(WAYS)}")
    return given


def _factor(given: object, model: Model) -> str:
    """Whose map is edited."""
    names = [factor["name"] for factor in model.engine.manifest["factors"][:-1]]
    if given is None:
        return model.map_factor or ""
    if given not in names:
        raise wrong(
            "factor", f"factor is {given!r:.60}; {model.name} has {', '.join(names) or 'none'}"
        )
    return str(given)


def _check_sources(way: str | None, has_picture: bool, has_map: bool) -> None:
    if way in ("pixel", "paste") and not has_picture:
        raise wrong("image", f"way is {way}, which changes a picture; send it as image")
    if way is not None and not has_map:
        raise wrong(
            "way",
            f"way is {way}, which edits a map, and none came; send it as the file map or labels, "
            "or in factors, or leave way out to edit the picture itself",
        )


def _take_map(
    factors: object,
    files: Mapping[str, list[bytes]],
    factor: str,
    model: Model,
    settings: Settings,
) -> tuple[Picture | None, object]:
    """The factor's map from where it came, and the factors' options without it."""
    most = model.map_pixels(settings.max_pixels or model.size[0] * model.size[1], 1)
    found: list[tuple[str, Picture]] = []
    if "map" in files:
        picture = pictures.decode(files["map"][0], "map", most)
        found.append(("map", picture.convert("RGB")))
    if "labels" in files:
        found.append(("labels", pictures.labels(files["labels"][0], "labels", most)))
    options = factors.get(factor) if isinstance(factors, dict) else None
    if isinstance(options, dict):
        place = f"factors.{factor}"
        if (in_json := pictures.map_of(options, place, most)) is not None:
            found.append((place, in_json))
        assert isinstance(factors, dict)
        rest = {name: value for name, value in options.items() if name not in ("map", "labels")}
        factors = {**factors, factor: rest}
    if len(found) > 1:
        names = " and ".join(name for name, _ in found)
        raise wrong(found[0][0], f"the map of {factor} came as {names}; give one")
    return (found[0][1] if found else None), factors


def _with_map(factors: Mapping[str, Any], factor: str, given: Picture) -> dict[str, Any]:
    if factors.get(factor, {}) is None:
        raise wrong("factors", f"factors.{factor} is left out, but its map came; say one of them")
    return {**factors, factor: {**factors.get(factor, {}), "map": given}}


def _spec(factor: str, model: Model) -> dict[str, Any]:
    for spec in model.engine.manifest["factors"]:
        if spec["name"] == factor:
            return dict(spec)
    raise wrong("factor", f"{model.name} makes no maps; leave way out to edit the picture itself")


def _map_size(factor: str, model: Model, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of a factor's map, for a picture of that size."""
    spec, image = _spec(factor, model), model.engine.manifest["factors"][-1]
    width, height = size
    return width * spec["width"] // image["width"], height * spec["height"] // image["height"]


def _of_the_maps_size(
    request: ImageRequest, given: Picture | None, factor: str, model: Model
) -> ImageRequest:
    """A request for a picture as large as belongs to the map, unless it says how large."""
    if given is None or request.size not in (None, "auto"):
        return request
    spec, image = _spec(factor, model), model.engine.manifest["factors"][-1]
    width, height = given.size if isinstance(given, Image.Image) else given.shape[1::-1]
    sides = width * image["width"] // spec["width"], height * image["height"] // spec["height"]
    return request.model_copy(update={"size": "x".join(str(side) for side in sides)})


def _edits(
    given: object,
    mask: Image.Image | None,
    size: tuple[int, int],
    pixels: tuple[int, int],
    settings: Settings,
) -> list[Edit]:
    """mask: of those that have none of their own. size: of what is inverted; pixels: of the
    picture, which is as large as a mask may be."""
    if not isinstance(given, list) or not given:
        raise wrong(
            "edits",
            'edits must be a list of objects such as [{"prompt": "a dog", "direction": "+"}]',
        )
    if len(given) > settings.max_edits:
        raise wrong(
            "edits",
            f"edits has {len(given)} entries; this service takes at most {settings.max_edits}",
        )
    names = [field.name for field in dataclasses.fields(Edit)]
    made = []
    for i, fields in enumerate(given):
        place = f"edits[{i}]"
        if not isinstance(fields, dict) or "prompt" not in fields:
            raise wrong("edits", f"{place} must be an object with a prompt, what it is about")
        unknown = [name for name in fields if name not in names]
        if unknown:
            raise wrong("edits", f"{place} has {unknown[0]!r:.60}; an edit has {', '.join(names)}")
        said = {name: value for name, value in fields.items() if value is not None}
        own = mask
        if "mask" in said:
            most = pixels[0] * pixels[1]
            own = as_mask(pictures.from_base64(said["mask"], f"{place}.mask", most), size)
        elif mask is not None:
            own = mask.resize(size, Image.Resampling.NEAREST)
        made.append(Edit(**{**said, "mask": own}))
    return made


def _inverting(given: object, settings: Settings) -> dict[str, Any]:
    """Options of Engine.invert."""
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise wrong("inversion", 'inversion must be an object such as {"steps": 20, "skip": 0.2}')
    unknown = [name for name in given if name not in _OF_INVERSION]
    if unknown:
        raise wrong(
            "inversion",
            f"inversion has {unknown[0]!r:.60}; it has {', '.join(_OF_INVERSION)}",
        )
    said = {name: value for name, value in given.items() if value is not None}
    steps = said.setdefault("steps", min(STEPS, settings.max_steps))
    if isinstance(steps, int) and steps > settings.max_steps:
        raise wrong(
            "inversion",
            f"steps of the inversion is {steps}; this service takes at most {settings.max_steps}",
        )
    return said
