"""What requests for pictures say, and what engines make of it."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import FormData, UploadFile

from . import pictures
from .errors import wrong
from .models import Model
from .settings import Settings

#: Options of `Engine.submit` that requests may have beside OpenAI's own.
ENGINE_OPTIONS = (
    *("candidates", "cache_interval", "cache_level", "condition_guidance_interval"),
    *("condition_guidance_scale", "condition_sampler", "condition_steps"),
    *("condition_timestep_spacing", "control_images", "controlnet_conditioning_scale", "deadline"),
    *("factors", "guidance", "guidance_interval", "guidance_scale", "joint", "joint_refresh"),
    *("min_area", "negative_prompt", "num_inference_steps", "objects", "priority", "prune"),
    *("sampler", "segfree_guidance_scale", "segfree_scale", "segfree_start", "stop_at_recall"),
    *("strength", "timestep_spacing", "wave"),
)


class ImageRequest(BaseModel):
    """OpenAI's fields of ``images.generate`` and ``images.edit`` that mean something here.

    Others are taken and passed over, but for the engine's own options, which ``model_extra`` has.
    """

    model_config = ConfigDict(extra="allow")

    prompt: str
    model: str | None = None
    n: int | None = Field(default=None, ge=1)
    size: str | None = None
    seed: int | None = None
    response_format: Literal["b64_json", "url"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: int | None = Field(default=None, ge=0, le=100)
    stream: bool | None = None
    partial_images: int | None = Field(default=None, ge=0, le=3)


@dataclass(frozen=True)
class Task:
    """A request that has been read. options: of `Engine.submit`, without the seed, which is
    `seed` for the first of `count` pictures, one more for the next and so on."""

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
    kind: Literal["image_generation", "image_edit"] = "image_generation"

    @property
    def size(self) -> str:
        """Width and height, as OpenAI writes them."""
        return f"{self.options['width']}x{self.options['height']}"


def read_task(request: ImageRequest, model: Model, settings: Settings) -> Task:
    """Raises ApiError (400) for what the service doesn't allow; the engine checks the rest."""
    if not request.prompt.strip():
        raise wrong("prompt", "prompt is empty")
    count = request.n or 1
    if count > settings.max_images:
        raise wrong("n", f"n is {count}; this service makes 1 to {settings.max_images} at a time")
    given = request.model_extra or {}
    options = {name: given[name] for name in ENGINE_OPTIONS if given.get(name) is not None}
    _limit(options, settings)
    if settings.deadline is not None:
        options["deadline"] = min(settings.deadline, _number(options, "deadline", math.inf))
    options["height"], options["width"] = _size(request.size, model, settings)
    if "factors" in options:
        options["factors"] = _factors(options["factors"])
    if "control_images" in options:
        options["control_images"] = _pictures(options["control_images"], "control_images")
    return Task(
        model=model,
        prompt=request.prompt,
        count=count,
        seed=_seed(request.seed, count),
        options=options,
        form=request.output_format or "png",
        compression=100 if request.output_compression is None else request.output_compression,
        as_url=request.response_format == "url",
        stream=bool(request.stream),
        partial_images=request.partial_images or 0,
    )


async def read_form(form: FormData) -> tuple[ImageRequest, dict[str, list[bytes]]]:
    """The fields of a multipart body, and its files by their fields' names (without ``[]``).

    What isn't OpenAI's is JSON where it can be read as such, else text; fields whose names end with
    ``[]`` are a list's entries.
    """
    fields: dict[str, Any] = {}
    files: dict[str, list[bytes]] = {}
    for key, value in form.multi_items():
        name = key.removesuffix("[]")
        if isinstance(value, UploadFile):
            files.setdefault(name, []).append(await value.read())
        elif name in ImageRequest.model_fields:
            fields[name] = value
        elif key.endswith("[]"):
            fields.setdefault(name, []).append(_read_json(value))
        else:
            fields[name] = _read_json(value)
    try:
        return ImageRequest.model_validate(fields), files
    except ValidationError as error:
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"])
        raise wrong(param, f"{param}: {first['msg']}") from None


def _read_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


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
    image = pictures.decode(images[0], "image")
    if request.size in (None, "auto"):
        request = request.model_copy(update={"size": f"{image.width}x{image.height}"})
    task = read_task(request, model, settings)
    size = task.options["width"], task.options["height"]
    options = task.options | {"image": image.convert("RGB").resize(size, Image.Resampling.LANCZOS)}
    if files.get("mask"):
        mask = pictures.decode(files["mask"][0], "mask")
        options["mask"] = _mask(mask).resize(size, Image.Resampling.NEAREST)
    elif "A" in image.getbands():
        options["mask"] = image.getchannel("A").point(lambda a: 0 if a >= 128 else 255).resize(size)
    return replace(task, options=options, kind="image_edit")


def _mask(mask: Image.Image) -> Image.Image:
    """White where the picture is painted anew."""
    if "A" in mask.getbands():
        return mask.getchannel("A").point(lambda alpha: 0 if alpha >= 128 else 255)
    return mask.convert("L").point(lambda grey: 255 if grey >= 128 else 0)


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


def _number(options: Mapping[str, Any], name: str, otherwise: float) -> float:
    value = options.get(name, otherwise)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(name, f"{name} must be a number")
    return float(value)


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
    if not x or not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        raise wrong("size", f"size is {asked!r:.40}; expected auto or WIDTHxHEIGHT in pixels")
    wanted = int(height), int(width)
    if not all(1 <= side <= 16384 for side in wanted):
        raise wrong("size", f"size is {asked}; expected sides of 1 to 16384 pixels")
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


def _factors(given: object) -> dict[str, Any]:
    """Options of factors, with their maps in base64."""
    if not isinstance(given, dict):
        raise wrong("factors", "factors must be an object of factors' names")
    made = dict(given)
    for name, options in given.items():
        if isinstance(options, dict) and options.get("map") is not None:
            picture = pictures.from_base64(options["map"], f"factors.{name}.map").convert("RGB")
            made[name] = {**options, "map": picture}
    return made


def _pictures(given: object, param: str) -> dict[str, Image.Image]:
    if not isinstance(given, dict):
        raise wrong(param, f"{param} must be an object of pictures in base64")
    return {
        name: pictures.from_base64(text, f"{param}.{name}").convert("RGB")
        for name, text in given.items()
    }
