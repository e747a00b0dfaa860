"""A palette's attributes: words that ask for several classes, for none of one, or for what no map
shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import ExportError
from .forms import normal_form

_KEYS = ("name", "words", "present", "absent", "shown")


def read_attributes(palette: str, given: Any, classes: Iterable[str]) -> list[dict[str, Any]]:
    """The attributes of a palette as a bundle stores them.

    `given`: ``[{"name", "words", "present", "absent", "shown"}, ...]``, or None. words: what a
    prompt calls it, each a word or a phrase, taken as they are, without plurals; the name if left
    out. present, absent: classes that are there, or aren't, on a map of it. shown: whether those
    classes are all there is to it (true if left out); what isn't shown is reported as not checked.

    Raises:
        ExportError: an attribute is malformed, can't be told from another, or names an unknown
            class.
    """
    if given is None:
        return []
    if not isinstance(given, list):
        raise ExportError(f"palette {palette}: attributes are {given!r}; expected a list")
    known = set(classes)
    attributes = [_attribute(palette, place, one, known) for place, one in enumerate(given)]
    for key in ("name", "words"):
        owners: dict[str, str] = {}
        for one in attributes:
            for word in [one["name"]] if key == "name" else one["words"]:
                if word in owners:
                    raise ExportError(
                        f"palette {palette}: {word} stands for the attributes {owners[word]} and "
                        f"{one['name']}; every name and word must belong to one"
                    )
                owners[word] = one["name"]
    return attributes


def _attribute(palette: str, place: int, given: Any, known: set[str]) -> dict[str, Any]:
    where = f"palette {palette}, attribute {place}"
    if not isinstance(given, Mapping):
        raise ExportError(f"{where} is {given!r}; expected an object")
    name, shown = given.get("name"), given.get("shown", True)
    if not isinstance(name, str) or not normal_form(name):
        raise ExportError(f"{where}: name is {name!r}; expected a string that isn't empty")
    where += f" ({name})"
    if unknown := [key for key in given if key not in _KEYS]:
        raise ExportError(f"{where} has {unknown[0]!r}; expected {', '.join(_KEYS)}")
    if type(shown) is not bool:
        raise ExportError(f"{where}: shown is {shown!r}; expected true or false")
    words = _texts(where, "words", given.get("words", [name]))
    forms = list(dict.fromkeys(normal_form(word) for word in words))
    if not forms or "" in forms:
        raise ExportError(f"{where}: words are {words!r}; expected one or more, none of them empty")
    present, absent = (_texts(where, key, given.get(key, [])) for key in ("present", "absent"))
    for one in (*present, *absent):
        if one not in known:
            raise ExportError(f"{where} speaks of {one}, which is no class of the palette")
    if both := set(present) & set(absent):
        raise ExportError(f"{where}: {min(both)} is both present and absent")
    if shown and not present and not absent:
        raise ExportError(
            f"{where} is shown by no class; name those that are present or absent, or write "
            '"shown": false'
        )
    return {"name": name, "words": forms, "present": present, "absent": absent, "shown": shown}


def _texts(where: str, key: str, given: Any) -> list[str]:
    if not isinstance(given, (list, tuple)) or not all(isinstance(one, str) for one in given):
        raise ExportError(f"{where}: {key} is {given!r}; expected a list of texts")
    return list(given)
