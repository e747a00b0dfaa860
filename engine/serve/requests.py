"""What requests for pictures say, and what engines make of it."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fgdm.values import required_real
from PIL import Image
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from . import pictures
from .errors import wrong
from .models import Model
from .settings import Settings

if TYPE_CHECKING:
    from .editing import Editing

#: Options of `Engine.submit` that requests may have beside OpenAI's own.
ENGINE_OPTIONS = (
    *("articles_count", "forbid", "instance_opening", "requirements", "select"),
    *("stop_at_compliance", "candidates", "cache_interval", "cache_level"),
    *("condition_guidance_interval",),
    *("condition_guidance_scale", "condition_sampler", "condition_steps"),
    *("condition_timestep_spacing", "control_images", "controlnet_conditioning_scale", "deadline"),
    *("factors", "guidance", "guidance_interval", "guidance_scale", "joint", "joint_refresh"),
    *("loras",),
    *("min_area", "negative_prompt", "num_inference_steps", "objects", "priority", "prune"),
    *("sampler", "segfree_guidance_scale", "segfree_scale", "segfree_start", "stop_at_recall"),
    *("strength", "timestep_spacing", "wave"),
)

#: Pixels along a side that a client may wish for, or begin with.
_MOST_SIDE = 16384
#: Of an option, those of its entries included.
_MOST_ENTRIES = 4096
#: Beside a factor's own; more than any bundle has networks for.
_MOST_PICTURES = 16


def _not_boolean(value: object) -> object:
    """What Pydantic takes for 0 or 1."""
    if isinstance(value, bool):
        raise ValueError(f"it is {str(value).lower()}, expected a whole number")
    return value


#: A whole number, of a form's text too.
Whole = Annotated[int, BeforeValidator(_not_boolean)]


class ImageRequest(BaseModel):
    """OpenAI's fields of ``images.generate`` and ``images.edit`` that mean something here.

    Others are taken and passed over, but for the engine's own options, which ``model_extra`` has.
    """

    model_config = ConfigDict(extra="allow")

    prompt: str
    model: str | None = None
    n: Whole | None = Field(default=None, ge=1)
    size: str | None = None
    seed: Whole | None = None
    response_format: Literal["b64_json", "url"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: Whole | None = Field(default=None, ge=0, le=100)
    stream: bool | None = None
    partial_images: Whole | None = Field(default=None, ge=0, le=3)
    map_previews: Whole | None = Field(default=None, ge=0, le=100)
    repaint: Whole | None = Field(default=None, ge=0)
    requirements_from: Literal["prompt", "llm"] | None = None


@dataclass(frozen=True)
class Task:
    """A request that has been read. options: of `Engine.submit`, without the seed, which is
    `seed` for the first of `count` pictures, one more for the next and so on. partial_images,
    map_previews: steps after which a picture, and each candidate's map, is looked at. repaint: how
    many pictures may follow one that its scorer fails; None: none is scored. editing: of an edit by
    inversion, whose options `options` are, and which isn't painted again."""

    model: Model
    prompt: str
    count: int
    seed: int
    options: dict[str, Any]
    form: str
    compression: int
    as_url: bool
    stream: bool
    partial_images: int
    map_previews: int = 0
    repaint: int | None = None
    kind: Literal["image_generation", "image_edit"] = "image_generation"
    editing: Editing | None = None

    @property
    def map_factor(self) -> str | None:
        """The factor whose map the picture is judged by; None where it is left out."""
        name = self.model.map_factor
        return None if self.options.get("factors", {}).get(name, {}) is None else name

    @property
    def is_composed(self) -> bool:
        """Whether the picture has parts of one that the request brought."""
        paints_anew = self.editing is not None and self.editing.way == "mask"
        return self.kind == "image_edit" and not paints_anew

    @property
    def pixels(self) -> tuple[int, int]:
        """Width and height of a picture."""
        return self.options["width"], self.options["height"]

    @property
    def size(self) -> str:
        """Width and height, as OpenAI writes them."""
        return "x".join(str(side) for side in self.pixels)

    def without_pictures(self) -> Task:
        """The same without the pictures that it begins with, which may be large."""
        factors = {
            name: {key: value for key, value in chosen.items() if key != "map"}
            if isinstance(chosen, dict)
            else chosen
            for name, chosen in self.options.get("factors", {}).items()
        }
        pictures = ("image", "mask", "control_images")
        options = {key: value for key, value in self.options.items() if key not in pictures}
        editing = None if self.editing is None else self.editing.without_pictures()
        return replace(self, options={**options, "factors": factors}, editing=editing)


def read_task(request: ImageRequest, model: Model, settings: Settings) -> Task:
    """Raises ApiError (400) for what the service doesn't allow, and RequestError; the engine checks
    the rest."""
    if not request.prompt.strip():
        raise wrong("prompt", "prompt is empty")
    count = request.n or 1
    if count > settings.max_images:
        raise wrong("n", f"n is {count}; this service makes 1 to {settings.max_images} at a time")
    given = request.model_extra or {}
    for name in ("image", "mask"):
        if given.get(name) is not None:
            raise wrong(
                name, f"{name} isn't read here; send it as a file to /v1/images/edits, in a form"
            )
    if given.get("edits") is not None:
        raise wrong("edits", "edits isn't read here; send it to /v1/images/edits, or in a job")
    for name in ("way", "inversion"):
        if given.get(name) is not None:
            raise wrong(name, f"{name} belongs to edits by inversion; say which with edits")
    options = {name: given[name] for name in ENGINE_OPTIONS if given.get(name) is not None}
    _limit(options, settings)
    limit_entries(options)
    options["deadline"] = _deadline(options.get("deadline"), settings.deadline)
    options["height"], options["width"] = _size(request.size, model, settings)
    if "factors" in options:
        most = model.map_pixels(options["height"], options["width"])
        options["factors"] = _factors(options["factors"], model, most)
    if "control_images" in options:
        most = options["height"] * options["width"]
        options["control_images"] = _pictures(options["control_images"], "control_images", most)
    return Task(
        model=model,
        prompt=request.prompt,
        count=count,
        seed=_seed(request.seed, count),
        options=options,
        form=request.output_format or "png",
        compression=100 if request.output_compression is None else request.output_compression,
        as_url=(request.response_format or _default_format(request.model)) == "url",
        stream=bool(request.stream),
        partial_images=request.partial_images or 0,
        map_previews=request.map_previews or 0,
        repaint=_repaint(request.repaint, model, settings),
    )


def read_by_model(task: Task) -> Task:
    """The same with requirements that the service's language model read in the prompt, which takes
    seconds. Raises ApiError (400) where the operator named none, or the request has its own."""
    reader = task.model.reader
    if reader is None:
        raise wrong(
            "requirements_from",
            "requirements_from is llm, and this service has no language model, which its operator "
            "would name; leave it out",
        )
    for name in ("requirements", "objects"):
        if name in task.options:
            raise wrong(
                "requirements_from",
                f"requirements_from is llm, but the request has {name}; give one of them",
            )
    reading = reader.read(task.prompt, task.model.engine.palette)
    return replace(task, options={**task.options, "requirements": reading})


def with_extra(request: ImageRequest, extra: Mapping[str, Any]) -> ImageRequest:
    """The same with those fields beside OpenAI's, and no others."""
    own = request.model_dump(include=set(ImageRequest.model_fields))
    return ImageRequest.model_validate({**own, **extra})


def take_files(request: ImageRequest) -> tuple[ImageRequest, dict[str, list[bytes]]]:
    """A JSON body's ``image`` and ``mask``, which are base64 there, as a form's files; the rest of
    it. Raises ApiError (400)."""
    extra = dict(request.model_extra or {})
    files = {
        name: [pictures.bytes_of(text, name)]
        for name in ("image", "mask")
        if (text := extra.pop(name, None)) is not None
    }
    return with_extra(request, extra), files


def read_edit(
    request: ImageRequest, files: Mapping[str, list[bytes]], model: Model, settings: Settings
) -> Task:
    """A picture to begin with, and where it is painted anew: where the mask is transparent, or
    white if it has no alpha. Both are resized to the picture that is made.

    Raises ApiError (400).
    """
    images = files.get("image", [])
    if len(images) != 1:
        raise wrong("image", f"{len(images)} images came; expected one file in the field image")
    if len(files.get("mask", [])) > 1:
        raise wrong("mask", f"{len(files['mask'])} masks came; expected one file")
    image = pictures.decode(images[0], "image")
    if max(image.size) > _MOST_SIDE:
        raise wrong(
            "image",
            f"image has {image.width}x{image.height} pixels; expected sides of 1 to {_MOST_SIDE}",
        )
    if request.size in (None, "auto"):
        request = request.model_copy(update={"size": f"{image.width}x{image.height}"})
    task = read_task(request, model, settings)
    size = task.options["width"], task.options["height"]
    options = task.options | {"image": image.convert("RGB").resize(size, Image.Resampling.LANCZOS)}
    if files.get("mask"):
        options["mask"] = as_mask(pictures.decode(files["mask"][0], "mask"), size)
    elif "A" in image.getbands():
        options["mask"] = image.getchannel("A").point(lambda a: 0 if a >= 128 else 255).resize(size)
    return replace(task, options=options, kind="image_edit")


def _default_format(model: str | None) -> str:
    """As OpenAI documents it: clients of its older models wait for addresses."""
    return "url" if (model or "").startswith("dall-e") else "b64_json"


def as_mask(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """White where a picture is painted anew: where the mask is transparent, or white if it has no
    alpha. size: width and height of it."""
    if "A" in picture.getbands():
        mask = picture.getchannel("A").point(lambda alpha: 0 if alpha >= 128 else 255)
    else:
        mask = picture.convert("L").point(lambda grey: 255 if grey >= 128 else 0)
    return mask.resize(size, Image.Resampling.NEAREST)


def _limit(options: Mapping[str, Any], settings: Settings) -> None:
    for name, most in (
        ("candidates", settings.max_candidates),
        ("condition_steps", settings.max_steps),
        ("num_inference_steps", settings.max_steps),
    ):
        groups = options.get("factors")
        places = [(name, options)] + [
            (f"factors[{factor!r:.40}] {name}", entry)
            for factor, entry in (groups.items() if isinstance(groups, dict) else ())
            if isinstance(entry, dict)
        ]
        for words, place in places:
            value = place.get(name)
            if isinstance(value, int) and value > most:
                raise wrong(name, f"{words} is {value}; this service takes at most {most}")


def limit_entries(options: Mapping[str, Any]) -> None:
    """Of lists and objects, which the engine checks one by one while others wait. Raises
    ApiError (400)."""
    for name, value in options.items():
        found, left = 0, [value]
        while left:
            entry = left.pop()
            if isinstance(entry, list | dict):
                found += len(entry)
                if found > _MOST_ENTRIES:
                    raise wrong(name, f"{name} has more than {_MOST_ENTRIES} entries")
                left += entry.values() if isinstance(entry, dict) else entry


def _deadline(asked: object, most: float | None) -> float | None:
    """Seconds, whose range the engine checks. Raises RequestError for what is no number."""
    if asked is None:
        return most
    seconds = required_real("deadline", asked)
    return most if most is not None and seconds > most else seconds


def _repaint(asked: int | None, model: Model, settings: Settings) -> int | None:
    if asked is None:
        return None
    if model.scoring is None:
        raise wrong(
            "repaint",
            f"repaint is {asked}, and nothing scores the pictures of {model.name} here, which "
            "has no segmenter; its operator would name one (--segmenter); leave it out",
        )
    if asked > settings.max_repaint:
        raise wrong(
            "repaint",
            f"repaint is {asked}; this service paints at most {settings.max_repaint} more",
        )
    return asked


def _seed(seed: int | None, count: int) -> int:
    if seed is None:
        return secrets.randbelow(2**63)
    if not 0 <= seed <= 2**64 - count:
        raise wrong("seed", f"seed is {seed}; expected 0 to 2^64 - n")
    return seed


def _size(asked: str | None, model: Model, settings: Settings) -> tuple[int, int]:
    """Height and width: those asked for, made smaller to the most pixels of a picture, and rounded
    to what the bundle can paint."""
    if asked in (None, "auto"):
        return model.size
    width, x, height = (asked or "").partition("x")
    if not x or not all(re.fullmatch("[0-9]{1,9}", side) for side in (width, height)):
        raise wrong("size", f"size is {asked!r:.40}; expected auto or WIDTHxHEIGHT in pixels")
    wanted = int(height), int(width)
    if not all(1 <= side <= _MOST_SIDE for side in wanted):
        raise wrong("size", f"size is {asked}; expected sides of 1 to {_MOST_SIDE} pixels")
    most = settings.max_pixels or model.size[0] * model.size[1]
    scale = min(1.0, math.sqrt(most / (wanted[0] * wanted[1])))
    multiples = model.multiple
    sides = [
        max(1, round(side * scale / multiple)) * multiple
        for side, multiple in zip(wanted, multiples, strict=True)
    ]
    while sides[0] * sides[1] > most:  # rounding may have gone beyond it
        larger = max(range(2), key=lambda axis: sides[axis] // multiples[axis])
        if sides[larger] == multiples[larger]:
            break  # the least that there is
        sides[larger] -= multiples[larger]
    return sides[0], sides[1]


def _factors(given: object, model: Model, most: int) -> dict[str, Any]:
    """Options of factors, with their maps in base64: ``map``, or ``labels``. What no factor has is
    refused before a map is decoded. most: pixels of a map."""
    if not isinstance(given, dict):
        raise wrong("factors", "factors must be an object of factors' names")
    known = [factor["name"] for factor in model.engine.manifest["factors"][:-1]]
    made = dict(given)
    for name, options in given.items():
        if name not in known:
            raise wrong(
                "factors",
                f"factors has {name!r:.60}; {model.name} has {', '.join(known) or 'none'}",
            )
        if isinstance(options, dict):
            rest = {key: value for key, value in options.items() if key not in ("map", "labels")}
            found = pictures.map_of(options, f"factors.{name:.60}", most)
            made[name] = rest if found is None else {**rest, "map": found}
    return made


def _pictures(given: object, param: str, most: int) -> dict[str, Image.Image]:
    if not isinstance(given, dict):
        raise wrong(param, f"{param} must be an object of pictures in base64")
    if len(given) > _MOST_PICTURES:
        raise wrong(
            param, f"{param} holds {len(given)} pictures; expected {_MOST_PICTURES} at most"
        )
    return {
        name: pictures.from_base64(text, f"{param}.{name:.60}", most).convert("RGB")
        for name, text in given.items()
    }
