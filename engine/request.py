"""A request's options, and their checks that only Python can make, before they cross into the core.

The core validates ranges and what belongs together; ``fgdm.values`` what a value is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import numpy as np
import numpy.typing as npt
from fgdm.arrays import own_errors_named
from fgdm.errors import RequestError
from fgdm.requirements import as_filters, as_requirements, flag
from fgdm.values import (
    Numbers,
    Picture,
    array,
    integers,
    interval,
    labels_or_picture,
    mask,
    picture,
    pictures,
    reals,
    required_integer,
    required_real,
    scales,
    shown,
    text,
    texts,
)

if TYPE_CHECKING:
    from fgdm.factor_result import Candidate
    from fgdm.requirements import Filters, Reading, Requirements

Value = TypeVar("Value")

#: Chooses among a factor's maps: the place of one, or a number for each.
SelectFunction = Callable[["list[Candidate]"], "int | Sequence[float] | npt.NDArray[Any]"]


class FactorOptions(TypedDict, total=False):
    """What a request says about one condition factor; ``Engine.submit`` says what it means."""

    prompt: str | None
    negative_prompt: str | None
    objects: Sequence[str] | None
    candidates: int | None
    condition_steps: int | None
    sampler: str | None
    timestep_spacing: str | None
    cache_interval: int | None
    cache_level: int | None
    guidance_scale: float | None
    guidance_interval: tuple[float, float] | None
    prune: Sequence[int] | None
    stop_at_recall: float | None
    min_area: float | None
    wave: int | None
    map: Picture | None
    strength: float | None
    latents: Numbers | None


class RequestOptions(TypedDict, total=False):
    """Keyword arguments of ``Engine.generate`` and ``Engine.submit``, which say what they mean."""

    negative_prompt: str | None
    objects: Sequence[str] | None
    candidates: int | None
    seed: int | None
    condition_steps: int | None
    num_inference_steps: int | None
    guidance: str | None
    guidance_scale: float | None
    condition_guidance_scale: float | None
    segfree_scale: float | None
    segfree_guidance_scale: float | None
    segfree_start: float | None
    guidance_interval: tuple[float, float] | None
    condition_guidance_interval: tuple[float, float] | None
    controlnet_conditioning_scale: float | Sequence[float] | None
    loras: Mapping[str, float] | None
    sampler: str | None
    condition_sampler: str | None
    timestep_spacing: str | None
    condition_timestep_spacing: str | None
    cache_interval: int | None
    cache_level: int | None
    min_area: float | None
    height: int | None
    width: int | None
    latents: Numbers | None
    condition_latents: Numbers | None
    control_images: Mapping[str, Picture] | None
    factors: Mapping[str, FactorOptions | None] | None
    joint: Sequence[str] | None
    joint_refresh: int | None
    image: Picture | None
    strength: float | None
    mask: Picture | npt.NDArray[np.bool_] | None
    prune: Sequence[int] | None
    stop_at_recall: float | None
    wave: int | None
    select: str | SelectFunction | None
    stop_at_compliance: float | None
    requirements: Requirements | Reading | None
    articles_count: bool | None
    instance_opening: int | None
    forbid: Filters | None
    keep_on_device: bool | None
    priority: int | None
    deadline: float | None


def checked(options: Mapping[str, object]) -> dict[str, object]:
    """RequestOptions as the core takes them. TypeError for an unknown one, RequestError for a value
    of the wrong type. None is as good as not given."""
    unknown = [name for name in options if name not in _CHECKS]
    if unknown:
        raise TypeError(f"a request has no option {unknown[0]!r}; it has {', '.join(_CHECKS)}")
    return _all_checked(options, _CHECKS, "")


def _all_checked(
    options: Mapping[str, object],
    checks: Mapping[str, Callable[[str, object], object]],
    place: str,
) -> dict[str, object]:
    return {
        name: read(place + name, value, checks[name])
        for name, value in options.items()
        if value is not None
    }


def select(name: str, value: object) -> object:
    """The name of what a map is chosen by, or the function that chooses. Raises RequestError."""
    if callable(value):
        return value
    chosen = text(name, value)
    if chosen not in ("recall", "compliance"):
        raise RequestError(f'{name} is "{chosen}", expected "recall", "compliance" or a function')
    return chosen


def read(name: str, value: object, check: Callable[[str, object], Value]) -> Value:
    """What `check` makes of a value. RequestError, too, for what the value's own methods raise."""
    with own_errors_named(name, value, "read"):
        return check(name, value)


def factors(name: str, value: object) -> dict[str, dict[str, object] | None]:
    """Options by factor; None leaves a factor out. Raises RequestError otherwise."""
    if not isinstance(value, Mapping):
        raise RequestError(
            f"{name} must map factors to their options, such as {{'depth': None}}, got "
            f"{type(value).__name__}"
        )
    return {
        text(f"{name}, a factor's name", key): _factor(f"{name}[{key!r}]", item)
        for key, item in value.items()
    }


def _factor(name: str, value: object) -> dict[str, object] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise RequestError(
            f"{name} must be a dictionary of options, or None to leave the factor out, got "
            f"{shown(value)}"
        )
    unknown = [option for option in value if option not in _FACTOR_CHECKS]
    if unknown:
        raise RequestError(
            f"{name} has no option {shown(unknown[0])}; it has {', '.join(_FACTOR_CHECKS)}"
        )
    return _all_checked(value, _FACTOR_CHECKS, f"{name} ")


_FACTOR_CHECKS: dict[str, Callable[[str, object], object]] = {
    "prompt": text,
    "negative_prompt": text,
    "objects": texts,
    "candidates": required_integer,
    "condition_steps": required_integer,
    "sampler": text,
    "timestep_spacing": text,
    "cache_interval": required_integer,
    "cache_level": required_integer,
    "guidance_scale": required_real,
    "guidance_interval": interval,
    "prune": integers,
    "stop_at_recall": required_real,
    "min_area": required_real,
    "wave": required_integer,
    "map": labels_or_picture,
    "strength": required_real,
    "latents": array,
}

_CHECKS: dict[str, Callable[[str, object], object]] = {
    "negative_prompt": text,
    "objects": texts,
    "candidates": required_integer,
    "seed": required_integer,
    "condition_steps": required_integer,
    "num_inference_steps": required_integer,
    "guidance": text,
    "guidance_scale": required_real,
    "condition_guidance_scale": required_real,
    "segfree_scale": required_real,
    "segfree_guidance_scale": required_real,
    "segfree_start": required_real,
    "guidance_interval": interval,
    "condition_guidance_interval": interval,
    "controlnet_conditioning_scale": reals,
    "loras": scales,
    "sampler": text,
    "condition_sampler": text,
    "timestep_spacing": text,
    "condition_timestep_spacing": text,
    "cache_interval": required_integer,
    "cache_level": required_integer,
    "min_area": required_real,
    "height": required_integer,
    "width": required_integer,
    "latents": array,
    "condition_latents": array,
    "control_images": pictures,
    "factors": factors,
    "joint": texts,
    "joint_refresh": required_integer,
    "image": picture,
    "strength": required_real,
    "mask": mask,
    "prune": integers,
    "stop_at_recall": required_real,
    "wave": required_integer,
    "select": select,
    "stop_at_compliance": required_real,
    "requirements": as_requirements,
    "articles_count": flag,
    "instance_opening": required_integer,
    "forbid": as_filters,
    "keep_on_device": flag,
    "priority": required_integer,
    "deadline": required_real,
}
