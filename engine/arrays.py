"""Arrays of other libraries, as requests take them: by DLPack, where they lie, or as numpy's.

docs/arrays.md says which options are read where.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

import numpy as np
from fgdm.errors import Error, RequestError

if TYPE_CHECKING:
    import numpy.typing as npt
    from fgdm._core import DeviceArray

#: DLPack's numbers of devices whose memory the host reads: its own, and what CUDA and ROCm pin.
_ON_HOST = (1, 3, 11)
#: Options whose arrays the networks read where they lie.
_READ_THERE = ("image", "latents", "condition_latents")


class SupportsDLPack(Protocol):
    """An array of any library that has DLPack's two methods (array API standard)."""

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any: ...
    def __dlpack_device__(self, *args: Any, **kwargs: Any) -> Any: ...


def is_taken(value: object) -> TypeGuard[DeviceArray]:
    """Whether the core has it already: an array that an engine took over, or a result's."""
    core: Any = sys.modules.get("fgdm._core")
    return core is not None and isinstance(value, core.DeviceArray)


def device_of(value: object) -> tuple[int, int] | None:
    """Where an array lies, as DLPack says it: (1, 0) is the host, (2, n) a GPU of NVIDIA's. None of
    what doesn't say so."""
    try:
        ask = None if isinstance(value, type) else getattr(value, "__dlpack_device__", None)
        if ask is None:
            return None
        kind, number = ask()
        return int(kind), int(number)
    except Exception:  # of the array's own methods: whoever reads it is told
        return None


def as_numpy(name: str, value: object, what: str) -> npt.NDArray[Any]:
    """An array on the host, which is copied there from a GPU. PyTorch's tensors of numpy's missing
    types become float32. RequestError, which expects `what`, for what has no form in numpy."""
    try:
        if all(hasattr(value, method) for method in ("detach", "cpu", "is_floating_point")):
            tensor: Any = value
            tensor = tensor.detach().cpu()
            # numpy has no bfloat16
            value = tensor.float() if tensor.is_floating_point() else tensor
        elif not isinstance(value, np.ndarray) and (device := device_of(value)) is not None:
            value = _by_dlpack(name, value, device)
        given = np.asarray(value)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise RequestError(f"{name} must be {what}, got {error!s:.200}") from None
    if given.size == 0:  # which the core would take for nothing given
        raise RequestError(f"{name} must be {what}, got an empty one of shape {given.shape}")
    return given


def _by_dlpack(name: str, array: Any, device: tuple[int, int]) -> object:
    if device[0] in _ON_HOST:
        try:
            return np.from_dlpack(array)
        except (TypeError, ValueError, RuntimeError, BufferError):
            return array  # numpy may read it in another way
    if is_taken(array):
        return array.numpy()
    try:
        host: Any = np.from_dlpack
        return host(array, device="cpu")  # numpy 2.1; the array's own library copies it
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise RequestError(
            f"{name} lies on DLPack's device {device}, from where its {type(array).__name__} "
            f"doesn't come to the host ({error!s:.200}); give a copy of it that lies there"
        ) from None


@contextmanager
def own_errors_named(name: str, value: object, done: str) -> Iterator[None]:
    """RequestError for what a value's own methods raise: `name` can't be `done`."""
    try:
        yield
    except Error:
        raise
    except Exception as error:
        raise RequestError(
            f"{name} can't be {done}: its {type(value).__name__} raises {type(error).__name__} "
            f"({error!s:.200})"
        ) from error


def brought(
    options: Mapping[str, object], take: Callable[[str, object], DeviceArray | None]
) -> dict[str, object]:
    """A request's options, in which arrays on a GPU that the networks read there are taken over as
    they lie; all others stay as they are.

    take: takes one over by its name, or gives None where it lies elsewhere. Raises RequestError for
    an array that its library doesn't hand on.
    """

    def taken(name: str, value: object) -> object:
        device = None if isinstance(value, np.ndarray) else device_of(value)
        if device is None or (device[0] in _ON_HOST and not is_taken(value)):
            return value
        with own_errors_named(name, value, "taken"):
            made = take(name, value)
        if made is None and is_taken(value):
            return value.numpy()
        return value if made is None else made

    made = dict(options)
    for name in _READ_THERE:
        if name in made:
            made[name] = taken(name, made[name])
    pictures = made.get("control_images")
    if isinstance(pictures, Mapping):
        made["control_images"] = {
            key: taken(f"control_images[{key!r}]", value) for key, value in pictures.items()
        }
    factors = made.get("factors")
    if isinstance(factors, Mapping):
        made["factors"] = {
            key: {**own, "latents": taken(f"factors[{key!r}] latents", own["latents"])}
            if isinstance(own, Mapping) and "latents" in own
            else own
            for key, own in factors.items()
        }
    return made
