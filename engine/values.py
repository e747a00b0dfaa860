"""Values of a user's as the core takes them: text, numbers, lists, arrays and pictures.

What the binding would refuse with a bare TypeError is refused by its name here: text that is no
Unicode, a fraction where a whole number belongs, an array of objects. Ranges are the core's.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from fgdm.arrays import SupportsDLPack, as_numpy, is_taken, own_errors_named
from fgdm.errors import RequestError
from PIL import Image

if TYPE_CHECKING:
    from typing import Protocol, TypeGuard

    from fgdm._core import DeviceArray

    class SupportsCudaStream(Protocol):
        """A CUDA stream of another library."""

        def __cuda_stream__(self) -> tuple[int, int]:
            """The protocol's version, and the address of the cudaStream_t."""


_INT_RANGE = (-(2**31), 2**31 - 1)
_UNSIGNED_RANGE = (0, 2**64 - 1)
_UNSIGNED = ("seed", "stream")

#: A picture as a request takes it.
Picture = Image.Image | npt.NDArray[np.uint8] | SupportsDLPack
#: Numbers as a request takes them.
Numbers = npt.ArrayLike | SupportsDLPack


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
        given = text(name, os.fspath(value))  # type: ignore[call-overload]
    except TypeError:
        raise RequestError(f"{name} must be a path, got {type(value).__name__}") from None
    if "\0" in given:
        raise RequestError(f"{name} is {shown(given)}, and no path has a NUL character")
    return given


def path_or_bytes(name: str, value: object) -> str | memoryview:
    """A path as text, or what holds bytes as a view of them. Raises RequestError otherwise."""
    if isinstance(value, (str, os.PathLike)):
        return path(name, value)
    try:
        return memoryview(value).cast("B")  # type: ignore[arg-type]
    except TypeError:  # it has no buffer, or one with gaps
        raise RequestError(
            f"{name} must be a path, or bytes without gaps, got {type(value).__name__}"
        ) from None


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
    """Whether items can be taken from it; letters of a text, keys and arrays without axes don't
    count."""
    return (
        isinstance(value, Iterable)
        and not isinstance(value, (str, bytes, Mapping))
        and getattr(value, "ndim", 1) > 0
    )


def required_integer(name: str, value: object) -> int:
    """A whole number that the core's type holds: int32, or uint64 for a seed or an address."""
    low, high = _UNSIGNED_RANGE if name in _UNSIGNED else _INT_RANGE
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


def cuda_stream(name: str, value: object) -> int:
    """The address of a cudaStream_t, as a number or by CUDA's protocol for Python. Raises
    RequestError for an object that stands for CUDA's default stream, and for what is none."""
    ask = getattr(value, "__cuda_stream__", None)
    if ask is None:
        return required_integer(name, value)
    with own_errors_named(name, value, "asked for its address"):
        _, given = ask()
    address = required_integer(name, given)
    if address == 0:
        raise RequestError(
            f"{name} is CUDA's default stream; make one, or leave {name} out for the engine's own"
        )
    return address


def integers(name: str, value: object) -> list[int]:
    """A list of whole numbers. Raises RequestError otherwise."""
    if not _is_list(value):
        raise RequestError(f"{name} must be a list of whole numbers, got {shown(value)}")
    return [required_integer(f"{name}[{i}]", item) for i, item in enumerate(value)]


def required_real(name: str, value: object) -> float:
    """A number; NaN and infinity included, which the core refuses with the range it allows."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
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


def scales(name: str, value: object) -> dict[str, float]:
    """Numbers by name. Raises RequestError otherwise."""
    if not isinstance(value, Mapping):
        raise RequestError(
            f"{name} must map names to numbers, such as {{'style': 0.8}}, got {shown(value)}"
        )
    return {
        text(f"{name}, a name", key): required_real(f"{name}[{key!r}]", number)
        for key, number in value.items()
    }


def interval(name: str, value: object) -> tuple[float, float]:
    """Two numbers. Raises RequestError otherwise."""
    numbers = reals(name, value) or []
    if len(numbers) != 2:
        raise RequestError(
            f"{name} must be two fractions of the steps such as (0.0, 0.8), got {shown(value)}"
        )
    return numbers[0], numbers[1]


def pictures(name: str, value: object) -> dict[str, npt.NDArray[np.uint8] | DeviceArray] | None:
    """RGB pictures by name, as contiguous (height, width, 3) uint8, or None."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise RequestError(f"{name} must map names to pictures, got {type(value).__name__}")
    return {text(name, key): picture(f"{name}[{key!r}]", item) for key, item in value.items()}


def picture(name: str, value: object) -> npt.NDArray[np.uint8] | DeviceArray:
    """An RGB picture, contiguous (height, width, 3) uint8. One that the core took over stays as it
    is. Raises RequestError otherwise."""
    if is_taken(value):
        return _checked(name, value, "uint8", 3)
    return host_picture(name, value)


def _checked(name: str, array: DeviceArray, dtype: str, dimensions: int) -> DeviceArray:
    if array.dtype != dtype or len(array.shape) != dimensions:
        shape = "(height, width, 3)" if dimensions == 3 else "(rows, channels, height, width)"
        raise RequestError(
            f"{name} must be a {dtype} array of shape {shape}, got {array.dtype} of shape "
            f"{array.shape}; convert it on its device"
        )
    return array


def host_picture(name: str, value: object) -> npt.NDArray[np.uint8]:
    """As `picture`, on the host."""
    what = "a PIL picture or a uint8 array of shape (height, width, 3)"
    if isinstance(value, Image.Image):
        value = _of_8_bits(name, value).convert("RGB")
    given = as_numpy(name, value, what)
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
        return host_picture(name, value)
    given = as_numpy(name, value, "a PIL picture or a uint8 array")
    if given.ndim == 2 and given.dtype == np.uint8:
        return np.ascontiguousarray(given)
    if given.ndim == 2:
        raise RequestError(
            f"{name} must be a PIL picture, uint8 class indices (height, width), or uint8 "
            f"(height, width, 3), got {given.dtype} of shape {given.shape}; convert it with "
            ".astype(numpy.uint8)"
        )
    return host_picture(name, given)


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
        given = as_numpy(name, value, what)
        if given.ndim != 2 or given.dtype not in (np.uint8, np.bool_):
            raise RequestError(f"{name} must be {what}, got {given.dtype} of shape {given.shape}")
        anew = given if given.dtype == np.bool_ else given >= 128
    return np.ascontiguousarray(anew, dtype=np.uint8)


def array(name: str, value: object) -> npt.NDArray[np.float32] | DeviceArray | None:
    """Contiguous float32, or None. Raises RequestError for anything but an array of numbers.

    Takes what numpy takes, what has DLPack's methods, and PyTorch's tensors of any floating type,
    on any device. What the core took over stays as it is.
    """
    if value is None:
        return None
    if is_taken(value):
        return _checked(name, value, "float32", 4)
    return host_array(name, value)


def host_array(name: str, value: object) -> npt.NDArray[np.float32]:
    """As `array`, on the host."""
    what = "an array or tensor of numbers"
    given = as_numpy(name, value, what)
    if given.dtype.kind not in "fiu":
        raise RequestError(f"{name} must be {what}, got dtype {given.dtype}")
    with np.errstate(over="ignore"):  # what overflows to infinity, the core names and refuses
        return np.ascontiguousarray(given, dtype=np.float32)


def labels(name: str, value: object) -> npt.NDArray[np.uint8]:
    """Class indices, contiguous uint8 (height, width). Raises RequestError otherwise."""
    what = "a uint8 array of shape (height, width)"
    if isinstance(value, (Image.Image, list, tuple)):
        raise RequestError(f"{name} must be {what}, got {type(value).__name__}")
    given = as_numpy(name, value, what)
    if given.dtype != np.uint8 or given.ndim != 2:
        raise RequestError(f"{name} must be {what}, got {given.dtype} of shape {given.shape}")
    return np.ascontiguousarray(given)
