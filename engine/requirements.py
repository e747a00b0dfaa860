"""What a picture shall hold and how, as requests say it and as results tell it.

The core reads and checks the content (docs/compliance.md); here are the types, and the way into it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

import numpy as np
from fgdm.errors import RequestError


class ObjectRequirement(TypedDict, total=False):
    """A class that is present, how often, and in which colour (which no map shows)."""

    # `class` is no name in Python: write {"class": "dog", "count": 2}.
    count: int
    at_least: int
    at_most: int
    color: str


class RelationRequirement(TypedDict):
    """Where a class is as seen from another; from two of them for "between".

    An end is a class's name, or {"class": "dog", "count": 2, "which": 2}: so many of it, and of
    several mentions of the class the second; ends of the same mention are the same things.
    """

    subject: str | Mapping[str, Any]
    relation: str
    object: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]


#: {"objects": [...], "relations": [...], "absent": [...], "attributes": [...]}, all optional.
Requirements = Mapping[str, Sequence[Any]]

#: Where one thing can be as seen from another.
RELATIONS = (
    *("left of", "right of", "above", "below", "on", "under", "beside", "between"),
    *("in front of", "behind"),
)

#: Class names, or {"classes": [...], "min_area": 0.01}: together they must not appear.
Filters = Sequence[str | Mapping[str, Any]]


@dataclass(frozen=True)
class Requirement:
    """One requirement. kind: "present", "count", "relation", "absent", "color" or "attribute" (what
    the palette says that no map shows). text: in words, such as "2 dog" or "dog left of house"."""

    kind: str
    text: str

    def to_json(self) -> dict[str, str]:
        """The fields by name."""
        return {"kind": self.kind, "text": self.text}


class PromptObjects(NamedTuple):
    """What a prompt asks for, in a palette's words.

    requested: classes, in the order of their first mention. unrecognized: content words that name
    none, the first hundred; unrecognized_omitted: how many more there are. excluded: classes that
    the prompt names only as what shall not be there ("a house without trees").
    """

    requested: list[str]
    unrecognized: list[str]
    excluded: list[str]
    unrecognized_omitted: int


class PromptRequirements(NamedTuple):
    """What a prompt asks for, in the form that requests take.

    not_understood: what of it was not read, word for word: relations without two known ends,
    relations that no map shows, counts of what has no instances.
    """

    requirements: dict[str, list[Any]]
    not_understood: list[str]


@dataclass(frozen=True)
class Reading:
    """A prompt's requirements as a language model read them (fgdm.llm), or why it didn't.

    requirements: None where the model failed, so that the engine reads the prompt. source: "llm",
    or "prompt" where that happened. model: its name. problem: why it failed, else "". attempts: how
    often it was asked. seconds: that it took, all attempts together.
    """

    requirements: dict[str, Any] | None
    source: str
    model: str
    problem: str
    attempts: int
    seconds: float

    def to_json(self) -> dict[str, object]:
        """Everything but the requirements, which a result has in its own way."""
        return {name: value for name, value in vars(self).items() if name != "requirements"}


def as_requirements(name: str, value: object) -> str:
    """Requirements as the core takes them. Raises RequestError for what has no JSON form."""
    if not isinstance(value, Mapping):
        raise RequestError(
            f"{name} must be a dictionary such as {{'objects': ['dog', {{'class': 'cat', 'count': "
            f"2}}], 'relations': [], 'absent': []}}, got {type(value).__name__}"
        )
    return _as_json(name, value)


def as_filters(name: str, value: object) -> str:
    """Filters as the core takes them; "" for none. Raises RequestError."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence):
        raise RequestError(
            f"{name} must be a list of classes such as ['person'] or of {{'classes': ['person', "
            f"'car'], 'min_area': 0.01}}, got {type(value).__name__}"
        )
    return _as_json(name, value) if value else ""


def flag(name: str, value: object) -> bool:
    """True or false. Raises RequestError otherwise."""
    if not isinstance(value, (bool, np.bool_)):
        raise RequestError(f"{name} must be True or False, got {type(value).__name__}")
    return bool(value)


def _as_json(name: str, value: object) -> str:
    try:
        return json.dumps(_plain(value), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(f"{name} has no JSON form: {error!s:.200}") from None


def _plain(value: object) -> object:
    """Tuples and other sequences as lists, mappings as dictionaries."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_plain(item) for item in value]
    return value
