"""Checks of a request that only Python can make, before its arguments cross into the core.

The core validates ranges and shapes. What it can't see is what the binding would refuse with a bare
TypeError: text that is no Unicode, a fraction where a whole number belongs, an array of objects.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
from fgdm.errors import RequestError
from PIL import Image

_INT_RANGE = (-(2**31), 2**31 - 1)
_SEED_RANGE = (0, 2**64 - 1)


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


def texts(name: str, value: object) -> list[str] | None:
    """A list of texts, or None. Raises RequestError for a single str, which is a common slip."""
    if value is None:
        return None
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise RequestError(
            f"{name} must be a list of class names such as ['dog', 'tree'], got {value!r:.60}"
        )
    return [text(f"{name}[{i}]", item) for i, item in enumerate(value)]


def integer(name: str, value: object, *, seed: bool = False) -> int | None:
    """As `required_integer`, or None."""
    return None if value is None else required_integer(name, value, seed=seed)


def required_integer(name: str, value: object, *, seed: bool = False) -> int:
    """A whole number that the core's type holds: int32, or uint64 for a seed."""
    low, high = _SEED_RANGE if seed else _INT_RANGE
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise RequestError(f"{name} must be a whole number, got {value!r:.60}") from None
    if not low <= number <= high:
        given = str(number) if number.bit_length() <= 128 else f"{number.bit_length()} bits"
        raise RequestError(f"{name} must be from {low} to {high}, got {given}")
    return number


def real(name: str, value: object) -> float | None:
    """As `required_real`, or None."""
    return None if value is None else required_real(name, value)


def required_real(name: str, value: object) -> float:
    """A number; NaN and infinity included, which the core refuses with the range it allows."""
    if isinstance(value, (int, float, np.integer, np.floating)):
        try:
            return float(value)
        except OverflowError:
            pass
    raise RequestError(f"{name} must be a number, got {value!r:.60}")


def reals(name: str, value: object) -> list[float] | None:
    """A list of numbers, of one if `value` is a number, or None."""
    if value is None:
        return None
    if isinstance(value, (int, float, np.number)):
        return [required_real(name, value)]
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise RequestError(f"{name} must be a number or a list of numbers, got {value!r:.60}")
    return [required_real(f"{name}[{i}]", item) for i, item in enumerate(value)]


def pictures(name: str, value: object) -> dict[str, npt.NDArray[np.uint8]] | None:
    """RGB pictures by name, as contiguous (height, width, 3) uint8, or None."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise RequestError(f"{name} must map names to pictures, got {type(value).__name__}")
    return {text(name, key): _picture(f"{name}[{key!r}]", item) for key, item in value.items()}


def _picture(name: str, value: object) -> npt.NDArray[np.uint8]:
    given = np.asarray(value.convert("RGB") if isinstance(value, Image.Image) else value)
    if given.dtype != np.uint8 or given.ndim != 3 or given.shape[2] != 3:
        raise RequestError(
            f"{name} must be a PIL picture or a uint8 array of shape (height, width, 3), got "
            f"{given.dtype} of shape {given.shape}"
        )
    return np.ascontiguousarray(given)


def array(name: str, value: object) -> npt.NDArray[np.float32] | None:
    """Contiguous float32, or None. Raises RequestError for anything but an array of numbers."""
    if value is None:
        return None
    try:
        given = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise RequestError(f"{name} must be a numpy array of float32, got {error}") from None
    if given.dtype.kind not in "fiu":
        raise RequestError(f"{name} must be a numpy array of float32, got dtype {given.dtype}")
    with np.errstate(over="ignore"):  # what overflows to infinity, the core names and refuses
        return np.ascontiguousarray(given, dtype=np.float32)
