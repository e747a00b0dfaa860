"""Checks of a request that only Python can make, before its arguments cross into the core.

The core validates ranges and shapes. What it can't see is what the binding would refuse with a bare
TypeError: text that is no Unicode, a fraction where a whole number belongs, an array of objects.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import numpy.typing as npt
from fgdm.errors import RequestError
from fgdm.requirements import as_filters, as_requirements, flag
from PIL import Image

if TYPE_CHECKING:
    from typing import TypeGuard

    from fgdm.requirements import Filters, Reading, Requirements
    from fgdm.result import Candidate

_INT_RANGE = (-(2**31), 2**31 - 1)
_SEED_RANGE = (0, 2**64 - 1)


#: A picture as a request takes it.
Picture = Image.Image | npt.NDArray[np.uint8]

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
    latents: npt.ArrayLike | None


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
    sampler: str | None
    condition_sampler: str | None
    timestep_spacing: str | None
    condition_timestep_spacing: str | None
    cache_interval: int | None
    cache_level: int | None
    min_area: float | None
    height: int | None
    width: int | None
    latents: npt.ArrayLike | None
    condition_latents: npt.ArrayLike | None
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
        name: _checked(place + name, value, checks[name])
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


def _checked(name: str, value: object, check: Callable[[str, object], object]) -> object:
    try:
        return check(name, value)
    except RequestError:
        raise
    except Exception as error:  # of the value's own methods
        raise RequestError(
            f"{name} can't be read: its {type(value).__name__} raises {type(error).__name__} "
            f"({error!s:.200})"
        ) from error


def text(name: str, value: object) -> str:
    """`value` as text that has a UTF-8 form. Raises RequestError otherwise."""
    if not isinstance(value, str):
        raise RequestError(f"{name} must be text (str), got {type(value).__name__}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RequestError(
            f"{name} isn't valid Unicode: character {error.start} is the lone surrogate "
            f"U+{ord(value[error.start]):04X}; give text that decodes as UTF-8"
        ) from None
    return value


def path(name: str, value: object) -> str:
    """A path as text. Raises RequestError otherwise."""
    try:
        return text(name, os.fspath(value))  # type: ignore[call-overload]
    except TypeError:
        raise RequestError(f"{name} must be a path, got {type(value).__name__}") from None


def shown(value: object) -> str:
    """The beginning of how Python writes a value, for messages; its type where it can't."""
    try:
        return f"{value!r:.60}"
    except Exception:
        return f"a {type(value).__name__}"


def image_sizes(name: str, value: object) -> list[tuple[int | None, int | None]]:
    """Pairs of whole numbers or None. Raises RequestError otherwise."""
    what = f"{name} must be a list of (height, width)"
    if not _is_list(value):
        raise RequestError(f"{what}, got {shown(value)}")
    sizes: list[tuple[int | None, int | None]] = []
    for i, item in enumerate(value):
        pair = list(item) if _is_list(item) else []
        if len(pair) != 2:
            raise RequestError(f"{what}, got {shown(item)}")
        height, width = (None if n is None else required_integer(f"{name}[{i}]", n) for n in pair)
        sizes.append((height, width))
    return sizes


def texts(name: str, value: object) -> list[str] | None:
    """A list of texts, or None. Raises RequestError for a single str, which is a common slip."""
    if value is None:
        return None
    if not _is_list(value):
        such = "factors" if name == "joint" else "class names such as ['dog', 'tree']"
        raise RequestError(f"{name} must be a list of {such}, got {shown(value)}")
    return [text(f"{name}[{i}]", item) for i, item in enumerate(value)]


def _is_list(value: object) -> TypeGuard[Iterable[object]]:
    """Whether items can be taken from it; letters of a text and arrays without axes don't count."""
    return (
        isinstance(value, Iterable)
        and not isinstance(value, (str, bytes))
        and getattr(value, "ndim", 1) > 0
    )


def required_integer(name: str, value: object) -> int:
    """A whole number that the core's type holds: int32, or uint64 for a seed."""
    low, high = _SEED_RANGE if name == "seed" else _INT_RANGE
    if isinstance(value, bool):
        raise RequestError(f"{name} must be a whole number, got {value}")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise RequestError(f"{name} must be a whole number, got {shown(value)}") from None
    if not low <= number <= high:
        given = str(number) if number.bit_length() <= 128 else f"{number.bit_length()} bits"
        raise RequestError(f"{name} must be from {low} to {high}, got {given}")
    return number


def integers(name: str, value: object) -> list[int]:
    """A list of whole numbers. Raises RequestError otherwise."""
    if not _is_list(value):
        raise RequestError(f"{name} must be a list of whole numbers, got {shown(value)}")
    return [required_integer(f"{name}[{i}]", item) for i, item in enumerate(value)]


def required_real(name: str, value: object) -> float:
    """A number; NaN and infinity included, which the core refuses with the range it allows."""
    if isinstance(value, (int, float, np.integer, np.floating)):
        try:
            return float(value)
        except OverflowError:
            pass
    raise RequestError(f"{name} must be a number, got {shown(value)}")


def reals(name: str, value: object) -> list[float] | None:
    """A list of numbers, of one if `value` is a number, or None."""
    if value is None:
        return None
    if isinstance(value, (int, float, np.number)):
        return [required_real(name, value)]
    if not _is_list(value):
        raise RequestError(f"{name} must be a number or a list of numbers, got {shown(value)}")
    return [required_real(f"{name}[{i}]", item) for i, item in enumerate(value)]


def interval(name: str, value: object) -> tuple[float, float]:
    """Two numbers. Raises RequestError otherwise."""
    numbers = reals(name, value) or []
    if len(numbers) != 2:
        raise RequestError(
            f"{name} must be two fractions of the steps such as (0.0, 0.8), got {shown(value)}"
        )
    return numbers[0], numbers[1]


def pictures(name: str, value: object) -> dict[str, npt.NDArray[np.uint8]] | None:
    """RGB pictures by name, as contiguous (height, width, 3) uint8, or None."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise RequestError(f"{name} must map names to pictures, got {type(value).__name__}")
    return {text(name, key): _picture(f"{name}[{key!r}]", item) for key, item in value.items()}


def _picture(name: str, value: object) -> npt.NDArray[np.uint8]:
    what = "a PIL picture or a uint8 array of shape (height, width, 3)"
    if isinstance(value, Image.Image):
        value = _of_8_bits(name, value).convert("RGB")
    given = _as_numpy(name, value, what)
    if given.dtype != np.uint8 or given.ndim != 3 or given.shape[2] != 3:
        raise RequestError(f"{name} must be {what}, got {given.dtype} of shape {given.shape}")
    return np.ascontiguousarray(given)


def _of_8_bits(name: str, picture: Image.Image) -> Image.Image:
    """The picture. RequestError for one of 16 or 32 bits, whose values Pillow would clip."""
    if picture.mode[0] in "IF":
        raise RequestError(
            f"{name} must be a picture of 8 bits a channel, got Pillow's mode {picture.mode}; "
            "scale its values to 0 to 255"
        )
    return picture


def labels_or_picture(name: str, value: object) -> npt.NDArray[np.uint8]:
    """A map: a picture as RGB, or a uint8 array of class indices (height, width) as it is."""
    if isinstance(value, Image.Image):
        return _picture(name, value)
    given = _as_numpy(name, value, "a PIL picture or a uint8 array")
    if given.ndim == 2 and given.dtype == np.uint8:
        return np.ascontiguousarray(given)
    return _picture(name, given)


def mask(name: str, value: object) -> npt.NDArray[np.uint8]:
    """Where a picture is painted anew, uint8 (height, width) of 0 and 1: where a picture with alpha
    is transparent (alpha below 128), where another is white (128 or more), where an array of bool
    is true."""
    what = "a PIL picture, or a uint8 or bool array of shape (height, width)"
    if isinstance(value, Image.Image):
        _of_8_bits(name, value)
        if value.has_transparency_data:
            anew = np.asarray(value.convert("RGBA"))[..., 3] < 128
        else:
            anew = np.asarray(value.convert("L")) >= 128
    else:
        given = _as_numpy(name, value, what)
        if given.ndim != 2 or given.dtype not in (np.uint8, np.bool_):
            raise RequestError(f"{name} must be {what}, got {given.dtype} of shape {given.shape}")
        anew = given if given.dtype == np.bool_ else given >= 128
    return np.ascontiguousarray(anew, dtype=np.uint8)


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


def array(name: str, value: object) -> npt.NDArray[np.float32] | None:
    """Contiguous float32, or None. Raises RequestError for anything but an array of numbers.

    Takes what numpy takes, and PyTorch's tensors of any floating type on any device.
    """
    if value is None:
        return None
    what = "an array or tensor of numbers"
    given = _as_numpy(name, value, what)
    if given.dtype.kind not in "fiu":
        raise RequestError(f"{name} must be {what}, got dtype {given.dtype}")
    with np.errstate(over="ignore"):  # what overflows to infinity, the core names and refuses
        return np.ascontiguousarray(given, dtype=np.float32)


def _as_numpy(name: str, value: object, what: str) -> npt.NDArray[Any]:
    """An array; of a tensor its values, without PyTorch being imported here."""
    try:
        if all(hasattr(value, method) for method in ("detach", "cpu", "is_floating_point")):
            tensor: Any = value
            tensor = tensor.detach().cpu()
            # numpy has no bfloat16
            value = tensor.float() if tensor.is_floating_point() else tensor
        given = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RequestError(f"{name} must be {what}, got {error!s:.200}") from None
    if given.size == 0:  # which the core would take for nothing given
        raise RequestError(f"{name} must be {what}, got an empty one of shape {given.shape}")
    return given


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
    "image": _picture,
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
    "priority": required_integer,
    "deadline": required_real,
}
