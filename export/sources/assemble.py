"""Builds a model from tensors by name, and refuses any that is missing, unknown or misshapen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn

from ..errors import ExportError

_LISTED = 20
_Model = TypeVar("_Model", bound=nn.Module)


def empty(make: Callable[[], _Model], origin: str) -> _Model:
    """A model whose parameters have shapes but no numbers yet.

    Raises:
        ExportError: the model can't be made; `origin` is where its configuration came from.
    """
    try:
        with init_empty_weights(include_buffers=False):
            return make()
    except ExportError:
        raise
    except Exception as error:  # A library's constructor, which may trip over anything.
        raise ExportError(
            f"{origin}: the configuration describes no model that can be made: {error}"
        ) from error


def fill(model: _Model, tensors: dict[str, Tensor], origin: str) -> _Model:
    """Give an empty model its numbers, in float32; `tensors` is emptied on the way.

    Tensors that are float32 already are taken as they are, so that a mapped file stays mapped.

    Raises:
        ExportError: a key is missing or unknown, or a tensor has another shape or isn't of floating
            point. The message lists them.
    """
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    _check(type(model).__name__, expected, tensors, origin)
    state = {key: tensors.pop(key).to(torch.float32) for key in expected}
    model.load_state_dict(state, assign=True)
    return model.eval()


def _check(
    name: str, expected: dict[str, tuple[int, ...]], tensors: dict[str, Tensor], origin: str
) -> None:
    problems: list[str] = []
    missing = [key for key in expected if key not in tensors]
    if missing:
        problems.append(f"{len(missing)} of {len(expected)} tensors are missing: {listed(missing)}")
    unknown = [key for key in tensors if key not in expected]
    if unknown:
        problems.append(f"{len(unknown)} tensors are unexpected: {listed(unknown)}")
    misshapen = [
        f"{key} is {_shape(tuple(tensors[key].shape))} instead of {_shape(shape)}"
        for key, shape in expected.items()
        if key in tensors and tuple(tensors[key].shape) != shape
    ]
    if misshapen:
        problems.append(f"{len(misshapen)} tensors have another shape: {listed(misshapen)}")
    integers = [
        f"{key} is {tensors[key].dtype}"
        for key in expected
        if key in tensors and not tensors[key].is_floating_point()
    ]
    if integers:
        problems.append(f"{len(integers)} tensors aren't of floating point: {listed(integers)}")
    if problems:
        raise ExportError(
            f"{origin} doesn't hold the {name} that was expected. {'. '.join(problems)}. Check "
            "that the file is whole and of the kind that was asked for"
        )


def listed(names: Iterable[str]) -> str:
    """The first twenty, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - _LISTED} more" if len(every) > _LISTED else ""
    return ", ".join(every[:_LISTED]) + more


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"
